package kv

import (
	"sync"
	"sync/atomic"
)

// index answers from memory what a verification asks: for the lookup hash of a
// presented value, whose it is and what it may do. Readers take no lock and
// never wait for the disk.
//
// The writer publishes a change after its commit and before its answer, so that
// whoever asks after the answer sees it. Others only offer what they have read
// from the database; an offer that was read before a change is not taken.
//
// It is bounded, but for as many entries as are put in at the same moment. What it
// does not hold is in the database.
type index struct {
	max     int64 // entries
	count   atomic.Int64
	changes atomic.Uint64 // groups published

	filled     atomic.Bool // all that was in the store at its opening has been offered
	overflowed atomic.Bool // something was left out or thrown out

	woken  chan struct{} // gets an element when there is something to flush
	shards [shardCount]shard
}

// A shard holds the entries whose hashes share their first bits. The last uses
// of its tokens lie on disk together.
const (
	shardBits  = 14
	shardCount = 1 << shardBits
)

type shard struct {
	block atomic.Pointer[block]
	dirty atomic.Bool // a last use is not on disk

	mu      sync.Mutex       // of those who change what follows, or the block
	changed uint64           // index.changes at the last change
	strays  map[uint64]int64 // by tag: last uses of tokens without an entry, or that there is none, until the disk has it
	dropped map[uint64]int64 // by tag: last uses of values that left, until they are off the disk
}

func shardOf(tag uint64) int { return int(tag >> (64 - shardBits)) }

func newIndex(limit int) *index {
	ix := &index{max: int64(limit), woken: make(chan struct{}, 1)}
	empty := &block{}
	for i := range ix.shards {
		ix.shards[i].block.Store(empty)
	}
	return ix
}

func (ix *index) shard(tag uint64) *shard { return &ix.shards[shardOf(tag)] }

// find is the entry of a value, if there is one.
func (ix *index) find(f fingerprint) (found, bool) {
	b := ix.shard(f.tag).block.Load()
	if i, ok := b.find(f); ok {
		return b.at(i), true
	}
	return found{}, false
}

// whole reports whether what is not in the index is not in the store either.
func (ix *index) whole() bool { return ix.filled.Load() && !ix.overflowed.Load() }

// publish takes over what was committed.
func (ix *index) publish(changes []change) {
	number := ix.changes.Add(1)
	for _, c := range changes {
		for _, hash := range c.leaving() {
			ix.remove(hash.fingerprint(), number)
		}
		for _, hash := range c.after.hashes() {
			ix.put(c.after, hash, number, !c.before.isFoundBy(hash))
		}
	}
}

// put takes in a record as it is now, under one of its values. One that is new to
// the store is known to be unused.
func (ix *index) put(r *record, hash lookupHash, number uint64, isNew bool) {
	f := hash.fingerprint()
	sh := ix.shard(f.tag)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.changed = number
	b := sh.block.Load()
	i, found := b.find(f)
	switch {
	case found:
		sh.supersede(b.edited(i, i+1, newEntry(r, hash, unknownUse)))
	case !isNew: // it is out of bounds, or about to be offered
	case ix.count.Load() >= ix.max:
		ix.overflowed.Store(true)
		if _, wasDropped := sh.dropped[f.tag]; wasDropped { // a value that comes again
			delete(sh.dropped, f.tag)
			ix.stray(sh, f.tag, neverUsed)
		}
	default:
		delete(sh.dropped, f.tag)
		sh.supersede(b.edited(i, i, newEntry(r, hash, neverUsed)))
		ix.count.Add(1)
	}
}

// remove drops a value that left the store, and its last use.
func (ix *index) remove(f fingerprint, number uint64) {
	sh := ix.shard(f.tag)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.changed = number
	use, isStray := sh.strays[f.tag]
	if !isStray {
		use = unknownUse
	}
	delete(sh.strays, f.tag)
	b := sh.block.Load()
	if i, found := b.find(f); found {
		sh.supersede(b.edited(i, i+1))
		ix.count.Add(-1)
		use = b.entries[i].loadUse()
		if use == neverUsed && ix.whole() {
			return // nothing of it is on disk, and no late use of it is kept
		}
	}
	if sh.dropped == nil {
		sh.dropped = map[uint64]int64{}
	}
	sh.dropped[f.tag] = use
	ix.soil(sh)
}

// offer puts in a record that was read from the database while changes was
// since, or later, under one of its values, and gives the entry for it. It is not ok where the shard has
// changed meanwhile: the record may be out of date then and must be read again.
// Where the index is full, the record may take the place of one nearby: in its
// shard, or the next that has any, the one that was not used for longest.
func (ix *index) offer(r *record, hash lookupHash, since uint64, mayEvict bool) (_ found, ok bool) {
	f := hash.fingerprint()
	sh := ix.shard(f.tag)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	b := sh.block.Load()
	i, known := b.find(f)
	switch {
	case known:
		return b.at(i), true
	case sh.changed > since:
		return found{}, false
	}
	if ix.count.Load() >= ix.max {
		ix.overflowed.Store(true) // first, for a verification looks at it last
		if !mayEvict || !ix.evict(shardOf(f.tag)) {
			alone := (&block{}).edited(0, 0, newEntry(r, hash, unknownUse))
			alone.superseded.Store(true) // by none
			return alone.at(0), true
		}
		b = sh.block.Load()
		i, _ = b.find(f)
	}
	use := int64(unknownUse)
	if at, isStray := sh.strays[f.tag]; isStray {
		use = at
		delete(sh.strays, f.tag)
	}
	b = b.edited(i, i, newEntry(r, hash, use))
	sh.supersede(b)
	ix.count.Add(1)
	return b.at(i), true
}

// offerAll offers a record under all its values. It is false as offer is not ok.
func (ix *index) offerAll(r *record, since uint64) bool {
	for _, hash := range r.hashes() {
		if _, ok := ix.offer(r, hash, since, false); !ok {
			return false
		}
	}
	return true
}

// evict makes room near a shard that is locked. It is false where nothing is
// there to be thrown out.
func (ix *index) evict(near int) bool {
	if ix.count.Load() == 0 {
		return false
	}
	const farthest = 256
	for i := range farthest {
		sh := &ix.shards[(near+i)%shardCount]
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
func (ix *index) evictFrom(sh *shard) bool {
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
		ix.stray(sh, b.entries[oldest].fingerprint.tag, at)
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
		case old.entries[i].fingerprint == next.entries[j].fingerprint:
			next.entries[j].raiseUse(old.entries[i].loadUse())
			i, j = i+1, j+1
		case len(old.entries) > len(next.entries): // one is gone
			i++
		default: // one is new
			j++
		}
	}
}
