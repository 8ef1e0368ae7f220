package api

import "time"

// crowd tells a server that has much to do from one that has little. It decides whether a
// connection that has just been answered gives up its turn before it looks for the next
// request: in a crowd a look would find nothing and cost a system call and a wait, and while
// others have their turn the next request may come. With few clients, giving up the turn
// costs more than the look.
//
// It is kept with a request, of which the pool has some for each core, so it sees what one
// core does.
type crowd struct {
	connection int       // the number of the connection that was served before
	at         time.Time // when
}

// sees takes note of a request, and reports whether the one before it was another
// connection's and came only a moment ago.
func (w *crowd) sees(connection int, at time.Time) bool {
	const moment = 20 * time.Microsecond // about two requests
	crowded := w.connection != connection && at.Sub(w.at) < moment
	w.connection, w.at = connection, at
	return crowded
}
