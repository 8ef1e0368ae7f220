package kv

import (
	"sync"
	"time"
)

// paced keeps what takes long to find, however often it is asked for: a hundred
// times as long as finding it took, and at most a minute.
type paced[T any] struct {
	mu    sync.Mutex
	found T
	until time.Time // it need not be found again
}

// get does not keep what was not found.
func (p *paced[T]) get(find func() (found T, ok bool)) (found T, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	begin := time.Now()
	if begin.Before(p.until) {
		return p.found, true
	}
	if found, ok = find(); ok {
		end := time.Now()
		p.found, p.until = found, end.Add(min(100*end.Sub(begin), time.Minute))
	}
	return found, ok
}
