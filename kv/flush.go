package kv

import (
	"bytes"
	"time"
)

// flusher brings last uses to disk, in the writer's goroutine. It goes round
// all shards in steps, as long as there is something to do, so that a use is on
// disk after one round, and no step keeps changes waiting for long.
type flusher struct {
	*writer
	timer   *time.Timer // for the next step
	running bool
	step    int // which it will be
	quiet   int // steps in a row that found nothing to do
}

const (
	flushRound = 4 * time.Second
	flushSteps = 64 // a round
)

func newFlusher(w *writer) *flusher {
	timer := time.NewTimer(flushRound)
	timer.Stop()
	return &flusher{writer: w, timer: timer}
}

// begin is called when there is something to be flushed.
func (f *flusher) begin() {
	f.quiet = 0
	if !f.running {
		f.running = true
		f.timer.Reset(flushRound / flushSteps)
	}
}

// next is called when a step is due. After a round without work it rests.
func (f *flusher) next() {
	const shards = shardCount / flushSteps
	worked := f.flush(f.step*shards, (f.step+1)*shards)
	f.step = (f.step + 1) % flushSteps
	f.quiet++
	if worked {
		f.quiet = 0
	}
	f.running = f.quiet < flushSteps && !f.failed.Load()
	if f.running {
		f.timer.Reset(flushRound / flushSteps)
	}
}

// all flushes what is left, at the end.
func (f *flusher) all() {
	f.timer.Stop()
	f.flush(0, shardCount)
}

// flush writes the last uses of some shards, where there are new ones. What
// cannot be written now stays in memory, where it counts all the same.
func (f *flusher) flush(from, to int) (worked bool) {
	var dirty []int
	for shard := from; shard < to; shard++ {
		if f.index.shards[shard].dirty.Load() {
			dirty = append(dirty, shard)
		}
	}
	worked = len(dirty) > 0
	for len(dirty) > 0 && f.writable() == nil {
		dirty = f.flushGroup(dirty)
	}
	return worked
}

// flushGroup writes as many shards as fit a transaction, and gives the others.
func (f *flusher) flushGroup(dirty []int) (rest []int) {
	g := newGroup(f.db)
	defer g.txn.Discard()
	done := 0
	for _, shard := range dirty {
		f.index.shards[shard].dirty.Store(false)
		writes := f.gather(g, shard)
		if !g.fits(writes) && done > 0 {
			f.index.shards[shard].dirty.Store(true)
			break
		}
		g.write(writes)
		done++
	}
	err := g.failure
	if err == nil {
		err = f.sync(g)
	}
	for _, shard := range dirty[:done] {
		if err == nil {
			f.index.settle(shard)
		} else {
			f.index.shards[shard].dirty.Store(true)
		}
	}
	return dirty[done:]
}

// gather gives what is to be written for a shard, if it differs from what is
// there.
func (f *flusher) gather(g *group, shard int) []write {
	stored, err := f.view(g).uses(shard)
	if err != nil {
		f.log.Error("last uses of some tokens are lost", "err", err)
	}
	all := f.index.collect(shard, stored)
	switch {
	case err == nil && bytes.Equal(all, stored):
		return nil
	case len(all) == 0:
		return []write{{key: usesKey(shard)}}
	}
	return []write{{usesKey(shard), encodeUses(all)}}
}
