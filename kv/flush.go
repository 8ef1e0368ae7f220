package kv

import (
	"bytes"
	"errors"
	"time"
)

// flusher brings last uses to disk, in the writer's goroutine. It goes round
// all shards in steps, as long as there is something to do, so that a use is on
// disk after one round, and no step keeps changes waiting for long.
type flusher struct {
	*writer
	timer   *time.Timer // for the next step
	running bool
	due     time.Time // when that is
	step    int       // which it will be
	quiet   int       // steps in a row that found nothing to do
}

// A round is shorter than the five seconds that a crash may cost.
const (
	flushRound    = 4 * time.Second
	flushSteps    = 64 // a round
	flushInterval = flushRound / flushSteps
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
		f.due = time.Now()
		f.schedule()
	}
}

// schedule sets the timer for the next step. Steps that take their time do not
// make the round longer.
func (f *flusher) schedule() {
	f.due = f.due.Add(flushInterval)
	if late := time.Since(f.due); late > flushRound { // it cannot be made up for
		f.due = f.due.Add(late)
	}
	f.timer.Reset(time.Until(f.due))
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
		f.schedule()
	}
}

// all flushes what is left, at the end.
func (f *flusher) all() {
	f.timer.Stop()
	if !f.flush(0, shardCount) {
		return
	}
	if err := f.writable(); err != nil {
		f.log.Warn("when tokens were used in the last seconds is not saved", "err", err)
	}
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
// After one that cannot be read it leaves them to the next round.
func (f *flusher) flushGroup(dirty []int) (rest []int) {
	g := newGroup(f.db)
	defer g.txn.Discard()
	gathered := map[int]uses{}
	for len(dirty) > 0 {
		shard := dirty[0]
		f.index.shards[shard].dirty.Store(false)
		var (
			uses   uses
			writes []write
		)
		err := f.guard(func() (err error) {
			uses, writes, err = f.gather(g, shard)
			return err
		})
		if err == nil && !g.fits(writes) && len(gathered) > 0 {
			f.index.shards[shard].dirty.Store(true)
			break
		}
		if err != nil {
			f.index.shards[shard].dirty.Store(true)
			f.log.Error("when tokens were used cannot be saved", "err", err)
			dirty = nil
			break
		}
		dirty = dirty[1:]
		g.write(writes)
		gathered[shard] = uses
	}
	err := f.durably(g)
	for shard, uses := range gathered {
		if err == nil {
			f.index.settle(shard, uses)
		} else {
			f.index.shards[shard].dirty.Store(true)
		}
	}
	if err != nil { // the others would fare no better; they stay dirty
		return nil
	}
	return dirty
}

// gather gives a shard's last uses, and what is to be written where they differ
// from what is there.
func (f *flusher) gather(g *group, shard int) (uses, []write, error) {
	var stored uses
	if !f.index.knowsUses(shard) {
		var err error
		stored, err = f.view(g).uses(shard)
		if errors.Is(err, ErrCorrupt) {
			f.log.Error("when some tokens were used is lost", "err", err)
		} else if err != nil {
			return nil, nil, err
		}
	}
	all := f.index.collect(shard, stored)
	switch {
	case stored != nil && bytes.Equal(all, stored):
		return all, nil, nil
	case len(all) == 0:
		return all, []write{{key: usesKey(shard)}}, nil
	}
	return all, []write{{usesKey(shard), encodeUses(all)}}, nil
}
