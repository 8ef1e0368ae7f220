package kv

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"time"

	"tokend/kv/internal/badgerdb"
	"tokend/kv/internal/index"
	"tokend/kv/internal/seal"
)

const (
	maxWaiting = 4096 // changes in the queue; one more gets ErrBusy
	maxGroup   = 256  // changes that share a commit
)

// A change is a record before and after: no before is a new one, no after a deleted one.
// Every record that enters or leaves the store does so as a change, through writesFor.
type change struct {
	before, after *record
}

// entering and leaving are the hashes of the values that do so with the change.
func (c change) entering() []seal.Hash { return without(c.after.hashes(), c.before) }
func (c change) leaving() []seal.Hash  { return without(c.before.hashes(), c.after) }

func without(hashes []seal.Hash, r *record) []seal.Hash {
	return slices.DeleteFunc(hashes, r.isFoundBy)
}

// A decision says what to change, given the state that it will change. It changes nothing
// itself, runs in the committer's goroutine and must not keep the view.
type decision func(view) ([]change, error)

// A committer makes what was decided durable, one decision after another, and applies it to
// what verification answers from. The local one is writer.
type committer interface {
	// commit carries a decision out, with some writes beside what it decides, and waits for
	// the outcome, for a time or until the context ends.
	commit(ctx context.Context, decide decision, beside ...badgerdb.Write) error
}

// operation is a decision on its way through the writer.
type operation struct {
	decide decision
	beside []badgerdb.Write
	err    error
	done   chan struct{}
}

func (op *operation) finish(err error) {
	op.err = err
	close(op.done)
}

// await waits for the outcome of an operation, for a time or until the context ends: a disk that
// does not answer must not hold clients for ever. The operation may then still be carried out.
func (op *operation) await(ctx context.Context, patience time.Duration) error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-op.done:
		return op.err
	case <-timer.C:
		return ErrStalled
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrStalled, context.Cause(ctx))
	}
}

// writer is the one goroutine that changes the database. It takes what is waiting, applies
// it in order in one transaction, commits that once, and then answers all of them. So many
// clients share one sync, and none is answered, not even with a refusal, because of a state
// that is not on disk yet.
type writer struct {
	db       *badgerdb.DB
	vault    vault
	index    *index.Index
	census   *census
	onCommit func(took time.Duration, operations int)
	patience time.Duration
	log      *slog.Logger

	queue   chan *operation
	stopped chan struct{}
}

// start lets a writer that has its parts run.
func (w *writer) start() *writer {
	w.queue = make(chan *operation, maxWaiting)
	w.stopped = make(chan struct{})
	go w.run()
	return w
}

func (w *writer) commit(ctx context.Context, decide decision, beside ...badgerdb.Write) error {
	op := &operation{decide: decide, beside: beside, done: make(chan struct{})}
	select {
	case w.queue <- op:
	default:
		return ErrBusy
	}
	return op.await(ctx, w.patience)
}

// stop ends the writer once the queue is empty, if a commit under way lets it. Nothing may
// be committed after it was called.
func (w *writer) stop(wait time.Duration) error {
	close(w.queue)
	select {
	case <-w.stopped:
		return nil
	case <-time.After(wait):
		return fmt.Errorf("a commit has not ended after %v", wait)
	}
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
			if w.db.HasFailed() {
				op.finish(ErrUnavailable)
				continue
			}
			w.commitGroup(op)
		case <-w.index.Woken():
			flush.begin()
		case <-flush.timer.C:
			flush.next()
		}
	}
}

// group is the operations that share a commit.
type group struct {
	*badgerdb.Batch

	operations []*operation
	refusals   []error  // beside operations: why one was refused, or nil
	changes    []change // of those that were not, in their order
}

// add puts an operation into the group, with its changes or with the reason why it has none.
func (g *group) add(op *operation, changes []change, writes []badgerdb.Write, refusal error) {
	g.operations = append(g.operations, op)
	g.refusals = append(g.refusals, refusal)
	g.changes = append(g.changes, changes...)
	g.Add(writes...)
}

func (w *writer) newGroup() *group { return &group{Batch: w.db.NewBatch()} }

// commitGroup carries out an operation and those that wait after it. What was decided on the
// state of a group whose commit failed is not carried out.
func (w *writer) commitGroup(op *operation) {
	g := w.newGroup()
	for taken := 1; op != nil; taken++ {
		changes, writes, err := w.decide(g, op)
		if !g.Fits(writes) {
			if failure := w.finish(g); failure != nil {
				op.finish(failure)
				return
			}
			g = w.newGroup()
		}
		if !g.Fits(writes) {
			changes, writes, err = nil, nil, ErrTooLarge
		}
		g.add(op, changes, writes, err)
		op = nil
		if taken < maxGroup {
			op = w.waiting()
		}
	}
	_ = w.finish(g) // its operations are told
}

func (w *writer) waiting() *operation {
	select {
	case op := <-w.queue: // nil once it is closed and empty
		return op
	default:
		return nil
	}
}

// decide runs an operation's decision to its end before anything is written, so that nothing
// of an operation that fails is in the batch. A panic in it is that operation's failure
// alone.
func (w *writer) decide(g *group, op *operation) (changes []change, writes []badgerdb.Write, err error) {
	defer func() {
		if p := recover(); p != nil {
			w.log.Error("panic in a change", "panic", p, "stack", string(debug.Stack()))
			changes, writes, err = nil, nil, fmt.Errorf("panic in a change: %v", p)
		}
	}()
	v := w.view(g.Batch)
	err = v.Guard(func() error {
		changes, err = op.decide(v)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	writes = op.beside
	for _, c := range changes {
		writes = append(writes, writesFor(c)...)
	}
	return changes, writes, nil
}

func (w *writer) view(b *badgerdb.Batch) view { return view{b.View(), w.vault, w.index} }

// writesFor is the door: it turns a changed record into what is to be written. The index on
// disk follows the record in the same commit; the one in memory follows when that is done.
func writesFor(c change) []badgerdb.Write {
	var writes []badgerdb.Write
	for _, hash := range c.leaving() {
		writes = append(writes, badgerdb.Write{Key: indexKey(hash)})
	}
	if c.after == nil {
		return append(writes, badgerdb.Write{Key: recordKey(c.before.Name)})
	}
	writes = append(writes, badgerdb.Write{Key: recordKey(c.after.Name), Value: c.after.sealed})
	for _, hash := range c.entering() {
		writes = append(writes, badgerdb.Write{Key: indexKey(hash), Value: []byte(c.after.Name)})
	}
	return writes
}

// finish makes a group durable, has verification follow it, and answers its operations. It
// gives the error of a commit that failed.
func (w *writer) finish(g *group) error {
	begin := time.Now()
	err := w.db.Commit(g.Batch)
	if err == nil && !g.IsEmpty() {
		w.onCommit(time.Since(begin), len(g.operations))
	}
	if err == nil {
		w.index.Publish(indexed(g.changes))
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

// indexed is what changes mean to the index.
func indexed(changes []change) []index.Change {
	all := make([]index.Change, len(changes))
	for i, c := range changes {
		for _, hash := range c.leaving() {
			all[i].Left = append(all[i].Left, index.KeyOf(hash))
		}
		for _, hash := range c.after.hashes() {
			all[i].Now = append(all[i].Now, index.Put{Entry: c.after.entry(hash), New: !c.before.isFoundBy(hash)})
		}
	}
	return all
}
