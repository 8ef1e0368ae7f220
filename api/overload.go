package api

import (
	"runtime"
	"sync/atomic"

	"tokend/api/wire"
)

// overload keeps management from taking what verification needs: its requests, lists
// and backups among them, are bounded in number, and who encodes or decodes much takes
// turns for half of the cores.
type overload struct {
	management, large slots
	turns             chan struct{}
}

func newOverload() overload {
	return overload{turns: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))}
}

// maxLarge bounds the requests whose body may exceed 64 KiB; each body is held in memory.
const maxLarge = 4

// slots are taken by requests under way. There is no queue.
type slots struct{ taken atomic.Int64 }

func (p *slots) take(limit int) bool {
	if p.taken.Add(1) > int64(limit) {
		p.taken.Add(-1)
		return false
	}
	return true
}

func (p *slots) leave() { p.taken.Add(-1) }

var errOverloaded = &problem{status: 503, code: wire.CodeOverloaded, retryAfter: "1",
	detail: "too many requests of management are under way; nothing was done"}

// admit lets a request of management in, if there is a place. It is left when the
// request ends, or the stream that answers it.
func (s *Server) admit(r *request, rt *route) error {
	if rt.access != readAdmin && rt.access != writeAdmin {
		return nil
	}
	if !s.overload.management.take(s.settings.Load().MaxManagement) {
		return errOverloaded
	}
	r.leave = s.overload.management.leave
	if !r.mayBeLarge(rt.bodyLimit()) {
		return nil
	}
	if !s.overload.large.take(maxLarge) {
		return errOverloaded
	}
	r.leave = func() {
		s.overload.large.leave()
		s.overload.management.leave()
	}
	return nil
}

// mayBeLarge reports whether a body may be larger than most routes allow.
func (r *request) mayBeLarge(limit int) bool {
	announced := r.ctx.Request.Header.ContentLength()
	return limit > maxBodyBytes && (announced == chunked || announced > maxBodyBytes)
}

// withCPUSlot does what takes a while and waits for nothing.
func (s *Server) withCPUSlot(work func()) {
	s.overload.turns <- struct{}{}
	defer func() { <-s.overload.turns }()
	work()
}
