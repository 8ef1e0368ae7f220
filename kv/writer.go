package kv

import (
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
)

const (
	maxWaiting = 4096 // changes in the queue; one more gets ErrBusy
	maxGroup   = 256  // changes that share a commit
)

// A change is a record before and after: no before is a new one, no after a
// deleted one. Every record that enters or leaves the store does so as a
// change, through enter.
type change struct {
	before, after *record
}

// entering and leaving are the hashes of the values that do so with the change.
func (c change) entering() []lookupHash { return without(c.after.hashes(), c.before) }
func (c change) leaving() []lookupHash  { return without(c.before.hashes(), c.after) }

func without(hashes []lookupHash, r *record) []lookupHash {
	return slices.DeleteFunc(hashes, r.isFoundBy)
}

// A decision says what to change, given the state that it will change. It runs
// in the writer's goroutine and must not keep the view.
type decision func(view) ([]change, error)

// operation is a decision on its way through the writer.
type operation struct {
	decide decision
	writes []write // beside those of what is decided
	err    error
	done   chan struct{}
}

func (op *operation) finish(err error) {
	op.err = err
	close(op.done)
}

// writer is the one goroutine that changes the database. It takes what is
// waiting, applies it in order in one transaction, commits that once, and then
// answers all of them: many clients share one sync, and none is answered, not
// even with a refusal, on the strength of a state that is not on disk yet.
type writer struct {
	db       *badger.DB
	vault    *vault
	index    *index
	census   *census
	reserve  reserve
	folder   *folder
	backing  backing
	onCommit func(took time.Duration, operations int)
	log      *slog.Logger

	queue   chan *operation
	stopped chan struct{}
	failed  atomic.Bool  // a commit did; see ErrUnavailable
	began   atomic.Int64 // when the commit under way did, in Unix milliseconds; 0: none is
}

// start lets a writer that has its parts run.
func (w *writer) start() *writer {
	w.queue = make(chan *operation, maxWaiting)
	w.stopped = make(chan struct{})
	go w.run()
	return w
}

// apply has a decision carried out, with some writes beside what it decides, and
// waits for the outcome.
func (w *writer) apply(decide decision, writes ...write) error {
	op := &operation{decide: decide, writes: writes, done: make(chan struct{})}
	select {
	case w.queue <- op:
	default:
		return ErrBusy
	}
	return op.await()
}

// A disk that does not answer must not hold clients for ever. They are told that the
// outcome is unknown; the commit goes on.
const (
	patience = 30 * time.Second // of a change
	stall    = 10 * time.Second // of a commit, after which the store is said to be not writable
)

// await waits for the outcome of an operation, for a time. Without it, the operation may
// still be carried out.
func (op *operation) await() error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-op.done:
		return op.err
	case <-timer.C:
		return ErrStalled
	}
}

// stop ends the writer once the queue is empty, if a commit under way lets it. Nothing may
// be applied after it was called.
func (w *writer) stop(wait time.Duration) error {
	close(w.queue)
	select {
	case <-w.stopped:
	case <-time.After(wait):
		return fmt.Errorf("a commit has not ended after %v", wait)
	}
	w.folder.close()
	return nil
}

// writable is the reason why no change is taken now, if there is one.
func (w *writer) writable() error {
	if w.failed.Load() {
		return ErrUnavailable
	}
	if w.hasWaited(stall) {
		return ErrStalled
	}
	return w.reserve.check()
}

// hasWaited reports whether a commit is under way since so long.
func (w *writer) hasWaited(wait time.Duration) bool {
	began := w.began.Load()
	return began != 0 && time.Since(time.UnixMilli(began)) > wait
}

func (w *writer) run() {
	defer close(w.stopped)
	flush := newFlusher(w)
	for {
		select {
		case op, ok := <-w.queue:
			if !ok {
				flush.all()
				return
			}
			if w.failed.Load() {
				op.finish(ErrUnavailable)
				continue
			}
			w.commitGroup(op)
		case <-w.index.woken:
			flush.begin()
		case <-flush.timer.C:
			flush.next()
		}
	}
}

// commitGroup carries out an operation and those that wait behind it. What was
// decided on the state of a group whose commit failed is not carried out.
func (w *writer) commitGroup(op *operation) {
	g := newGroup(w.db)
	for taken := 1; op != nil; taken++ {
		changes, writes, err := w.decide(g, op)
		if !g.fits(writes) {
			if failure := w.commit(g); failure != nil {
				op.finish(failure)
				return
			}
			g = newGroup(w.db)
		}
		if !g.fits(writes) {
			changes, writes, err = nil, nil, ErrTooLarge
		}
		g.add(op, changes, writes, err)
		op = nil
		if taken < maxGroup {
			op = w.waiting()
		}
	}
	_ = w.commit(g) // its operations are told
}

func (w *writer) waiting() *operation {
	select {
	case op := <-w.queue: // nil once it is closed and empty
		return op
	default:
		return nil
	}
}

// decide runs an operation's decision to its end before anything is written, so
// that nothing of an operation that fails is in the transaction. A panic in it is that
// operation's failure alone.
func (w *writer) decide(g *group, op *operation) (changes []change, writes []write, err error) {
	defer func() {
		if p := recover(); p != nil {
			w.log.Error("panic in a change", "panic", p, "stack", string(debug.Stack()))
			changes, writes, err = nil, nil, fmt.Errorf("panic in a change: %v", p)
		}
	}()
	err = w.guard(func() error {
		changes, err = op.decide(w.view(g))
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	writes = op.writes
	for _, c := range changes {
		writes = append(writes, enter(c)...)
	}
	return changes, writes, nil
}

func (w *writer) view(g *group) view { return view{g.txn, w.vault, w.index} }

// enter is the door: it turns a changed record into what is to be written. The
// index on disk follows the record in the same transaction; the one in memory
// follows when that is committed.
func enter(c change) []write {
	var writes []write
	for _, hash := range c.leaving() {
		writes = append(writes, write{key: indexKey(hash)})
	}
	if c.after == nil {
		return append(writes, write{key: recordKey(c.before.Name)})
	}
	writes = append(writes, write{recordKey(c.after.Name), c.after.sealed})
	for _, hash := range c.entering() {
		writes = append(writes, write{indexKey(hash), []byte(c.after.Name)})
	}
	return writes
}

// commit makes a group durable, has verification follow it, and answers its
// operations. It gives the error of a commit that failed.
func (w *writer) commit(g *group) error {
	begin := time.Now()
	err := w.durably(g)
	if err == nil && g.wrote {
		w.onCommit(time.Since(begin), len(g.operations))
	}
	if err == nil {
		w.index.publish(g.changes)
		w.census.publish(g.changes)
	}
	for i, op := range g.operations {
		if err != nil {
			op.finish(err)
		} else {
			op.finish(g.refusals[i])
		}
	}
	return err
}

// durably commits a group and makes sure that it is on disk. Every commit goes through
// here, the flush of last uses too, so none misses what a commit needs: room on the disk,
// the pages of the log, and an alarm for a disk that does not answer. A commit that fails
// ends all changes.
func (w *writer) durably(g *group) error {
	defer g.txn.Discard()
	if g.failure != nil || !g.wrote {
		return g.failure
	}
	begin := time.Now()
	w.began.Store(begin.UnixMilli())
	stalled := time.AfterFunc(stall, func() { w.log.Error("a commit waits for the disk, which does not answer", "since", begin) })
	err := w.reserve.check() // as late as can be, since a write through a map that fails is the end
	if err == nil {
		err = w.backing.ask(w.db, g.logged)
	}
	if err == nil {
		err = w.sync(g)
	}
	w.began.Store(0)
	if !stalled.Stop() {
		w.log.Warn("the commit that waited for the disk has ended", "after", time.Since(begin), "err", err)
	}
	return err
}

// sync commits a group and syncs it. Failing, it ends all changes.
func (w *writer) sync(g *group) error {
	err := g.commit()
	if err == nil {
		err = w.folder.sync()
	}
	if err == nil {
		return nil
	}
	w.failed.Store(true)
	w.log.Error("a commit failed; no changes are taken until a restart", "err", err)
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}
