// Package index answers from memory what a verification asks: for the lookup hash of a
// presented value, whose it is and what it may do. Readers take no lock and never wait for
// the disk.
//
// The store publishes a change after its commit and before its answer, so whoever asks after
// the answer sees it. Others only offer what they have read from the database; an offer that
// was read before a change is not taken.
//
// It is bounded; concurrent insertions may exceed the bound by one entry each. What it does not
// hold is in the database.
package index

import (
	"iter"
	"sync"
	"sync/atomic"
)

// Entry is what a verification needs to know of one of a token's values.
type Entry struct {
	Key  Key
	Name string

	Active, Write, Expires bool

	// Rotated says that this is the value before the token's last rotation.
	Rotated bool

	// In Unix milliseconds. ExpirationDate is the time of the token's last change where it
	// does not expire. GraceEnds counts where Rotated is set.
	ExpirationDate, ValueMade, GraceEnds int64
}

// Change is what a committed change of a token means to the index.
type Change struct {
	Left []Key // of values that are good no more
	Now  []Put // of the values that the token has now
}

// Put is an entry as it is now.
type Put struct {
	Entry

	New bool // to the store: it is known to be unused
}

// Index holds entries, up to a bound, and what was last used. It is safe for concurrent use.
type Index struct {
	max     int64 // entries
	count   atomic.Int64
	changes atomic.Uint64 // groups published

	filled     atomic.Bool // all that was in the store at its opening has been offered
	overflowed atomic.Bool // something was left out or thrown out

	woken  chan struct{} // gets an element when there is something to flush
	shards [Shards]shard
}

// A shard holds the entries whose hashes share their first bits. The last uses
// of its tokens lie on disk together.
const (
	shardBits = 14

	// Shards is how many shards there are.
	Shards = 1 << shardBits
)

type shard struct {
	block atomic.Pointer[block]
	dirty atomic.Bool // a last use is not on disk

	mu            sync.Mutex       // of those who change what follows, or the block
	changed       uint64           // index.changes at the last change
	unindexedUses map[uint64]int64 // by tag: last uses of tokens without an entry, or that there is none, until the disk has it
	removedUses   map[uint64]int64 // by tag: last uses of values that left, until they are off the disk
}

func shardOf(tag uint64) int { return int(tag >> (64 - shardBits)) }

// New makes an index for up to a number of entries.
func New(limit int) *Index {
	ix := &Index{max: int64(limit), woken: make(chan struct{}, 1)}
	empty := &block{}
	for i := range ix.shards {
		ix.shards[i].block.Store(empty)
	}
	return ix
}

func (ix *Index) shard(tag uint64) *shard { return &ix.shards[shardOf(tag)] }

// Find is the entry of a value, if there is one. It takes no lock and never waits.
func (ix *Index) Find(k Key) (Found, bool) {
	b := ix.shard(k.tag).block.Load()
	if i, ok := b.find(k); ok {
		return b.at(i), true
	}
	return Found{}, false
}

// Whole reports whether what is not in the index is not in the store either.
func (ix *Index) Whole() bool { return ix.filled.Load() && !ix.overflowed.Load() }

// IsFilled reports whether all that was in the store at its opening has been offered.
func (ix *Index) IsFilled() bool { return ix.filled.Load() }

// HasOverflowed reports whether there was no room for an entry.
func (ix *Index) HasOverflowed() bool { return ix.overflowed.Load() }

// MarkFilled says that all that was in the store at its opening has been offered.
func (ix *Index) MarkFilled() { ix.filled.Store(true) }

// Count is how many entries there are.
func (ix *Index) Count() int { return int(ix.count.Load()) }

// Max is how many entries there may be.
func (ix *Index) Max() int { return int(ix.max) }

// Published is how many groups of changes were published. Whoever reads a record to offer it
// notes the number before that.
func (ix *Index) Published() uint64 { return ix.changes.Load() }

// Publish takes over a group of changes that was committed.
func (ix *Index) Publish(changes []Change) {
	number := ix.changes.Add(1)
	for _, c := range changes {
		for _, key := range c.Left {
			ix.remove(key, number)
		}
		for _, put := range c.Now {
			ix.put(put.Entry, number, put.New)
		}
	}
}

// put takes in an entry as it is now.
func (ix *Index) put(e Entry, number uint64, isNew bool) {
	k := e.Key
	sh := ix.shard(k.tag)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.changed = number
	b := sh.block.Load()
	i, found := b.find(k)
	switch {
	case found:
		sh.supersede(b.edited(i, i+1, newContent(e, unknownUse)))
	case !isNew: // it is out of bounds, or about to be offered
	case ix.count.Load() >= ix.max:
		ix.overflowed.Store(true)
		if _, wasRemoved := sh.removedUses[k.tag]; wasRemoved { // a value that comes again
			delete(sh.removedUses, k.tag)
			ix.keepUnindexedUse(sh, k.tag, neverUsed)
		}
	default:
		delete(sh.removedUses, k.tag)
		sh.supersede(b.edited(i, i, newContent(e, neverUsed)))
		ix.count.Add(1)
	}
}

// remove drops a value that left the store, and its last use.
func (ix *Index) remove(k Key, number uint64) {
	sh := ix.shard(k.tag)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.changed = number
	use, isUnindexed := sh.unindexedUses[k.tag]
	if !isUnindexed {
		use = unknownUse
	}
	delete(sh.unindexedUses, k.tag)
	b := sh.block.Load()
	if i, found := b.find(k); found {
		sh.supersede(b.edited(i, i+1))
		ix.count.Add(-1)
		use = b.entries[i].loadUse()
		if use == neverUsed && ix.Whole() {
			return // nothing of it is on disk, and no late use of it is kept
		}
	}
	if sh.removedUses == nil {
		sh.removedUses = map[uint64]int64{}
	}
	sh.removedUses[k.tag] = use
	ix.markDirty(sh)
}

// Offer puts in an entry that was read from the store when Published was since, or later.
// It is not ok where the shard has changed meanwhile: the entry may be out of date then and
// must be read again. Where the index is full, the entry may take the place of one nearby:
// of the one that was not used for longest in its shard, or in one of the next.
func (ix *Index) Offer(e Entry, since uint64, mayEvict bool) (_ Found, ok bool) {
	k := e.Key
	sh := ix.shard(k.tag)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	b := sh.block.Load()
	i, known := b.find(k)
	switch {
	case known:
		return b.at(i), true
	case sh.changed > since:
		return Found{}, false
	}
	if ix.count.Load() >= ix.max {
		ix.overflowed.Store(true) // first, for a verification looks at it last
		if !mayEvict || !ix.evict(shardOf(k.tag)) {
			alone := (&block{}).edited(0, 0, newContent(e, unknownUse))
			alone.superseded.Store(true) // by none
			return alone.at(0), true
		}
		b = sh.block.Load()
		i, _ = b.find(k)
	}
	use := int64(unknownUse)
	if at, isUnindexed := sh.unindexedUses[k.tag]; isUnindexed {
		use = at
		delete(sh.unindexedUses, k.tag)
	}
	b = b.edited(i, i, newContent(e, use))
	sh.supersede(b)
	ix.count.Add(1)
	return b.at(i), true
}

// Forget drops the entry of a value, as if there had been no room for it.
func (ix *Index) Forget(k Key) {
	ix.overflowed.Store(true)
	ix.remove(k, ix.changes.Load())
}

// evict makes room in a shard that is locked, or in one of the next 255 that nobody holds. It
// is false where none of them has an entry.
func (ix *Index) evict(near int) bool {
	if ix.count.Load() == 0 {
		return false
	}
	const farthest = 256
	for i := range farthest {
		sh := &ix.shards[(near+i)%Shards]
		if i > 0 && !sh.mu.TryLock() { // two that wait for each other would wait for ever
			continue
		}
		evicted := ix.evictFrom(sh)
		if i > 0 {
			sh.mu.Unlock()
		}
		if evicted {
			return true
		}
	}
	return false
}

// evictFrom throws out the entry of a shard that was not used for longest.
func (ix *Index) evictFrom(sh *shard) bool {
	b := sh.block.Load()
	if len(b.entries) == 0 {
		return false
	}
	oldest := 0
	for i := range b.entries {
		if b.entries[i].loadUse() < b.entries[oldest].loadUse() {
			oldest = i
		}
	}
	sh.supersede(b.edited(oldest, oldest+1))
	ix.count.Add(-1)
	if at := b.entries[oldest].loadUse(); at > neverUsed { // looked at after it was superseded
		ix.keepUnindexedUse(sh, b.entries[oldest].key.tag, at)
	}
	return true
}

// supersede puts a block in the place of the one that is there. A verification
// that still holds the old one notes its use in either: here it is found, or
// there it is seen that the block was superseded.
func (sh *shard) supersede(next *block) {
	old := sh.block.Swap(next)
	if len(old.entries) == 0 {
		return // it is every shard's
	}
	old.superseded.Store(true)
	for i, j := 0, 0; i < len(old.entries) && j < len(next.entries); {
		switch {
		case old.entries[i].key == next.entries[j].key:
			next.entries[j].raiseUse(old.entries[i].loadUse())
			i, j = i+1, j+1
		case len(old.entries) > len(next.entries): // one is gone
			i++
		default: // one is new
			j++
		}
	}
}

// Woken gets an element when there is something to flush.
func (ix *Index) Woken() <-chan struct{} { return ix.woken }

// IsDirty reports whether a shard has a last use that is not on disk.
func (ix *Index) IsDirty(shard int) bool { return ix.shards[shard].dirty.Load() }

// SetDirty says whether a shard has one.
func (ix *Index) SetDirty(shard int, dirty bool) { ix.shards[shard].dirty.Store(dirty) }

// All are the entries of the index. Each shard is as it was at one moment.
func (ix *Index) All() iter.Seq[Found] {
	return func(yield func(Found) bool) {
		for shard := range ix.shards {
			b := ix.shards[shard].block.Load()
			for i := range b.entries {
				if !yield(b.at(i)) {
					return
				}
			}
		}
	}
}
