package kv

import (
	"encoding/binary"
	"math/bits"
	"slices"
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
// It is bounded. What it does not hold is in the database.
type index struct {
	max     int64 // entries
	count   atomic.Int64
	changes atomic.Uint64 // groups published

	filled     atomic.Bool // all that was in the store at its opening has been offered
	overflowed atomic.Bool // something was left out or thrown out

	woken  chan struct{} // gets an element when the first use is to be flushed
	shards [shardCount]shard
}

// A shard holds the entries whose hashes share their first bits. The last uses
// of its tokens lie on disk together.
const (
	shardBits  = 14
	shardCount = 1 << shardBits
)

type shard struct {
	slots atomic.Pointer[slots]
	dirty atomic.Bool // a use is not on disk

	mu      sync.Mutex
	changed uint64              // index.changes at the last change
	strays  map[uint64]*stray   // by tag: uses of tokens without a slot, until they are on disk
	dropped map[uint64]struct{} // tags of deleted tokens, until their uses are off the disk
}

// entry is what a verification needs to know of a value. Only the last use
// changes.
type entry struct {
	fingerprint    fingerprint
	name           string
	expirationDate int64 // Unix milliseconds, as in Token
	valueMade      int64 // Unix milliseconds
	used           *lastUse
	active         bool
	write          bool
	expires        bool
}

// fingerprint is the half of a lookup hash by which an entry is known.
type fingerprint [16]byte

func (h lookupHash) fingerprint() fingerprint { return fingerprint(h[:16]) }

// tag orders the slots of a shard, and stands for a value in its last uses on
// disk.
func (h lookupHash) tag() uint64 { return h.fingerprint().tag() }

func (f fingerprint) tag() uint64 { return binary.BigEndian.Uint64(f[:8]) }

func shardOf(tag uint64) int { return int(tag >> (64 - shardBits)) }

func newIndex(limit int) *index {
	return &index{max: int64(limit), woken: make(chan struct{}, 1)}
}

// slots are a shard's entries in the order of their tags. They are copied to be
// changed, so that a reader may hold them as long as it likes.
type slots []slot

type slot struct {
	tag   uint64
	entry *entry
}

// search is the place of the first slot whose tag is not below. Tags are evenly
// spread, so that a tag itself tells nearly where it is.
func (s slots) search(tag uint64) int {
	guess, _ := bits.Mul64(tag<<shardBits, uint64(len(s)))
	i := int(guess) //nolint:gosec // below the length
	for i > 0 && s[i-1].tag >= tag {
		i--
	}
	for i < len(s) && s[i].tag < tag {
		i++
	}
	return i
}

// find is the place of an entry, or the one where it belongs.
func (s slots) find(f fingerprint) (i int, found bool) {
	tag := f.tag()
	for i = s.search(tag); i < len(s) && s[i].tag == tag; i++ {
		if s[i].entry.fingerprint == f {
			return i, true
		}
	}
	return i, false
}

func (s slots) has(tag uint64) bool {
	i := s.search(tag)
	return i < len(s) && s[i].tag == tag
}

func (sh *shard) load() slots {
	if s := sh.slots.Load(); s != nil {
		return *s
	}
	return nil
}

func (sh *shard) store(s slots) { sh.slots.Store(&s) }

// find is the entry of a value, or nil.
func (ix *index) find(f fingerprint) *entry {
	s := ix.shards[shardOf(f.tag())].load()
	if i, found := s.find(f); found {
		return s[i].entry
	}
	return nil
}

// whole reports whether what is not in the index is not in the store either.
func (ix *index) whole() bool { return ix.filled.Load() && !ix.overflowed.Load() }

// publish takes over what was committed.
func (ix *index) publish(changes []change) {
	number := ix.changes.Add(1)
	for _, c := range changes {
		if c.leaves() {
			ix.remove(c.before.hash.fingerprint(), number)
		}
		if c.after != nil {
			ix.put(c.after, number, c.enters())
		}
	}
}

// put takes in a record as it is now. A value that is new to the store is
// known to be unused.
func (ix *index) put(r *record, number uint64, isNew bool) {
	f := r.hash.fingerprint()
	sh := &ix.shards[shardOf(f.tag())]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.changed = number
	s := sh.load()
	i, found := s.find(f)
	switch {
	case found:
		s = slices.Clone(s)
		s[i].entry = newEntry(r, s[i].entry.used)
		sh.store(s)
	case !isNew: // it is out of bounds, or about to be offered
	case ix.count.Load() >= ix.max:
		ix.overflowed.Store(true)
	default:
		sh.insert(i, newEntry(r, newLastUse(neverUsed)))
		ix.count.Add(1)
	}
}

// remove drops a value that left the store, and its last use.
func (ix *index) remove(f fingerprint, number uint64) {
	tag := f.tag()
	sh := &ix.shards[shardOf(tag)]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.changed = number
	s := sh.load()
	i, found := s.find(f)
	if found {
		sh.store(slices.Delete(slices.Clone(s), i, i+1))
		ix.count.Add(-1)
	}
	delete(sh.strays, tag)
	if found && s[i].entry.used.at.Load() == neverUsed {
		return // nothing of it is on disk
	}
	if sh.dropped == nil {
		sh.dropped = map[uint64]struct{}{}
	}
	sh.dropped[tag] = struct{}{}
	ix.soil(sh)
}

// offer puts in a record that was read from the database while changes was
// since, or later. It gives the entry to use for it, or nil where the shard has
// changed meanwhile: the record may be out of date then and must be read again.
// Where the index is full, the record may take the place of another that was not
// used for longer.
func (ix *index) offer(r *record, since uint64, mayEvict bool) *entry {
	f := r.hash.fingerprint()
	number := shardOf(f.tag())
	sh := &ix.shards[number]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	i, found := sh.load().find(f)
	switch {
	case found:
		return sh.load()[i].entry
	case sh.changed > since:
		return nil
	}
	e := newEntry(r, sh.useOf(f.tag()))
	if ix.count.Load() >= ix.max {
		ix.overflowed.Store(true) // first, for a verification looks at it last
		if !mayEvict {
			return e
		}
		if !ix.evict(number) {
			ix.stray(sh, e.fingerprint.tag(), e.used)
			return e
		}
		i, _ = sh.load().find(f)
	}
	sh.insert(i, e)
	ix.count.Add(1)
	return e
}

func (sh *shard) insert(i int, e *entry) {
	old := sh.load()
	s := make(slots, len(old)+1) // no larger: there are many
	copy(s, old[:i])
	s[i] = slot{e.fingerprint.tag(), e}
	copy(s[i+1:], old[i:])
	sh.store(s)
	delete(sh.strays, e.fingerprint.tag())
}

// evict makes room near a shard that is locked. It is false where nothing is
// there to be thrown out.
func (ix *index) evict(near int) bool {
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
	s := sh.load()
	if len(s) == 0 {
		return false
	}
	oldest := 0
	for i := range s {
		if s[i].entry.used.at.Load() < s[oldest].entry.used.at.Load() {
			oldest = i
		}
	}
	ix.stray(sh, s[oldest].tag, s[oldest].entry.used)
	sh.store(slices.Delete(slices.Clone(s), oldest, oldest+1))
	ix.count.Add(-1)
	return true
}

func newEntry(r *record, used *lastUse) *entry {
	return &entry{
		fingerprint:    r.hash.fingerprint(),
		name:           r.Name,
		expirationDate: r.ExpirationDate().UnixMilli(),
		valueMade:      r.valueMade.UnixMilli(),
		used:           used,
		active:         r.Active,
		write:          r.Write,
		expires:        r.Expires(),
	}
}

// valid reports whether the token is good at a moment, in Unix milliseconds.
func (e *entry) valid(now int64) bool {
	return e.active && (!e.expires || now < e.expirationDate)
}
