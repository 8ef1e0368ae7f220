package kv

import (
	"bytes"
	"errors"
	"time"

	"tokend/kv/internal/badgerdb"
	"tokend/kv/internal/index"
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
	const shards = index.Shards / flushSteps
	worked := f.flush(f.step*shards, (f.step+1)*shards)
	f.step = (f.step + 1) % flushSteps
	f.quiet++
	if worked {
		f.quiet = 0
	}
	f.running = f.quiet < flushSteps && !f.db.HasFailed()
	if f.running {
		f.schedule()
	}
}

// all flushes what is left, at the end.
func (f *flusher) all() {
	f.timer.Stop()
	if !f.flush(0, index.Shards) {
		return
	}
	if err := f.db.Writable(); err != nil {
		f.log.Warn("cannot save last-used times of the last seconds", "err", err)
	}
}

// flush writes the last uses of some shards, where there are new ones. What
// cannot be written now stays in memory, where it counts all the same.
func (f *flusher) flush(from, to int) (worked bool) {
	var dirty []int
	for shard := from; shard < to; shard++ {
		if f.index.IsDirty(shard) {
			dirty = append(dirty, shard)
		}
	}
	worked = len(dirty) > 0
	for len(dirty) > 0 && f.db.Writable() == nil {
		dirty = f.flushGroup(dirty)
	}
	return worked
}

// flushGroup writes as many shards as fit a commit, and gives the others. After a failure it
// leaves them to the next round.
func (f *flusher) flushGroup(dirty []int) (rest []int) {
	batch := f.db.NewBatch()
	defer batch.Discard()
	gathered := map[int]index.Uses{}
	for len(dirty) > 0 {
		shard := dirty[0]
		f.index.SetDirty(shard, false)
		uses, writes, err := f.gather(f.view(batch), shard)
		if err != nil {
			f.index.SetDirty(shard, true)
			f.log.Error("cannot save last-used times", "err", err)
			dirty = nil
			break
		}
		if !batch.Fits(writes) && len(gathered) > 0 {
			f.index.SetDirty(shard, true)
			break
		}
		dirty = dirty[1:]
		batch.Add(writes...)
		gathered[shard] = uses
	}
	err := f.db.Commit(batch)
	for shard, uses := range gathered {
		if err == nil {
			f.index.Settle(shard, uses)
		} else {
			f.index.SetDirty(shard, true)
		}
	}
	if err != nil {
		return nil
	}
	return dirty
}

// gather gives a shard's last uses, and what is to be written where they differ from what is
// on disk.
func (f *flusher) gather(v view, shard int) (all index.Uses, writes []badgerdb.Write, err error) {
	err = v.Guard(func() error {
		var stored index.Uses
		if !f.index.KnowsUses(shard) {
			stored, err = v.uses(shard)
			if errors.Is(err, ErrCorrupt) {
				f.log.Error("some last-used times are lost", "err", err)
			} else if err != nil {
				return err
			}
		}
		all = f.index.Collect(shard, stored)
		switch {
		case stored != nil && bytes.Equal(all, stored):
		case len(all) == 0:
			writes = []badgerdb.Write{{Key: usesKey(shard)}}
		default:
			writes = []badgerdb.Write{{Key: usesKey(shard), Value: all.Encode()}}
		}
		return nil
	})
	return all, writes, err
}
