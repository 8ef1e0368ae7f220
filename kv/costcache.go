package kv

import (
	"sync"
	"time"
)

// costCache caches what takes long to find: for a hundred times as long as finding it took,
// and at most a minute.
type costCache[T any] struct {
	now func() time.Time

	mu    sync.Mutex
	found T
	since time.Time // when it was found
	until time.Time // when it must be found again
}

// get does not keep what was not found.
func (c *costCache[T]) get(find func() (found T, ok bool)) (found T, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	begin := c.now()
	if !begin.Before(c.since) && begin.Before(c.until) { // a clock may be set back
		return c.found, true
	}
	if found, ok = find(); ok {
		end := c.now()
		c.found, c.since, c.until = found, begin, end.Add(min(100*end.Sub(begin), time.Minute))
	}
	return found, ok
}
