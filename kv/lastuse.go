package kv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// lastUse is when a value was last found valid. It outlives its entry, so that
// a verification that still holds an older one counts.
type lastUse struct{ at atomic.Int64 } // Unix milliseconds, or one of:

const (
	neverUsed  = 0
	unknownUse = -1 // the disk has it, if there is any
	notFlushed = -2
)

func newLastUse(at int64) *lastUse {
	u := &lastUse{}
	u.at.Store(at)
	return u
}

func (u *lastUse) raise(now int64) {
	for {
		at := u.at.Load()
		if at >= now || u.at.CompareAndSwap(at, now) {
			return
		}
	}
}

// stray is the last use of a token without a slot. It stays until two flushes
// found the same, since a verification may still hold it.
type stray struct {
	*lastUse
	flushed int64 // what the last flush found
	settled bool  // what the one before found, too
}

// use notes that a value was found valid.
func (ix *index) use(e *entry, now int64) {
	e.used.raise(now)
	ix.soil(&ix.shards[shardOf(e.fingerprint.tag())])
}

// soil says that a shard has what is not on disk yet.
func (ix *index) soil(sh *shard) {
	if sh.dirty.Load() {
		return
	}
	sh.dirty.Store(true)
	select {
	case ix.woken <- struct{}{}:
	default:
	}
}

// stray keeps the use of a token without a slot until it is on disk.
func (ix *index) stray(sh *shard, tag uint64, used *lastUse) {
	if sh.strays == nil {
		sh.strays = map[uint64]*stray{}
	}
	sh.strays[tag] = &stray{lastUse: used, flushed: notFlushed}
	ix.soil(sh)
}

// useOf is the last use of a token that is about to get an entry.
func (sh *shard) useOf(tag uint64) *lastUse {
	if stray := sh.strays[tag]; stray != nil {
		return stray.lastUse
	}
	return newLastUse(unknownUse)
}

// lastUse is the last use of a value, as far as memory knows it.
func (ix *index) lastUse(h lookupHash) int64 {
	if e := ix.find(h.fingerprint()); e != nil {
		return e.used.at.Load()
	}
	sh := &ix.shards[shardOf(h.tag())]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if stray := sh.strays[h.tag()]; stray != nil {
		return stray.at.Load()
	}
	return unknownUse
}

// lastUsed is when a value was last found valid, zero where it never was.
func (v view) lastUsed(h lookupHash) (time.Time, error) {
	at := v.index.lastUse(h)
	if at == unknownUse {
		uses, err := v.uses(shardOf(h.tag()))
		if err != nil {
			return time.Time{}, err
		}
		at = uses.of(h.tag())
	}
	if at == neverUsed {
		return time.Time{}, nil
	}
	return fromMilli(at), nil
}

// uses are the last uses of a shard's tokens as they lie on disk: for each that
// was ever used its tag and the time.
type uses []byte

const (
	usesVersion = 1 // the first byte where they are stored
	useSize     = 16
)

// uses reads what is on disk for a shard.
func (v view) uses(shard int) (uses, error) {
	raw, err := v.get(usesKey(shard))
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return decodeUses(raw)
}

func encodeUses(u uses) []byte { return append([]byte{usesVersion}, u...) }

func decodeUses(raw []byte) (uses, error) {
	if len(raw)%useSize != 1 || raw[0] != usesVersion {
		return nil, fmt.Errorf("%w: last uses are not readable", ErrCorrupt)
	}
	return raw[1:], nil
}

func (u uses) len() int { return len(u) / useSize }

func (u uses) at(i int) (tag uint64, at int64) {
	pair := u[i*useSize:]
	return binary.BigEndian.Uint64(pair), int64(binary.BigEndian.Uint64(pair[8:])) //nolint:gosec // as it was written
}

func (u uses) with(tag uint64, at int64) uses {
	u = binary.BigEndian.AppendUint64(u, tag)
	return binary.BigEndian.AppendUint64(u, uint64(at)) //nolint:gosec // after 1970
}

// of is the last use of the token with a tag.
func (u uses) of(tag uint64) int64 {
	for i := range u.len() {
		if t, at := u.at(i); t == tag {
			return at
		}
	}
	return neverUsed
}

// collect gives a shard's last uses as they are to be stored: what memory knows,
// and of the other tokens what is stored already. It must be followed by settle,
// or by soil where they could not be stored.
func (ix *index) collect(shard int, stored uses) uses {
	sh := &ix.shards[shard]
	whole := ix.whole() // looked at before the slots: what they lack does not exist then
	sh.mu.Lock()
	defer sh.mu.Unlock()
	slots := sh.load()
	var all uses
	add := func(tag uint64, at int64) {
		if at == unknownUse {
			at = stored.of(tag)
		}
		if at != neverUsed {
			all = all.with(tag, at)
		}
	}
	for _, slot := range slots {
		add(slot.tag, slot.entry.used.at.Load())
	}
	for tag, stray := range sh.strays {
		at := stray.at.Load()
		stray.settled = at == stray.flushed
		stray.flushed = at
		add(tag, at)
	}
	for i := range stored.len() {
		tag, at := stored.at(i)
		if !whole && !sh.knows(slots, tag) {
			add(tag, at)
		}
	}
	return all
}

// knows reports whether memory decides about a token's last use.
func (sh *shard) knows(s slots, tag uint64) bool {
	_, dropped := sh.dropped[tag]
	return dropped || sh.strays[tag] != nil || s.has(tag)
}

// settle forgets what is on disk now.
func (ix *index) settle(shard int) {
	sh := &ix.shards[shard]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.dropped = nil
	for tag, stray := range sh.strays {
		if stray.settled && stray.at.Load() == stray.flushed {
			delete(sh.strays, tag)
		}
	}
	if len(sh.strays) > 0 {
		ix.soil(sh) // look again: a verification may still hold one
	}
}

// learn gives the entries of a shard that do not know their last use what is
// stored.
func (ix *index) learn(shard int, stored uses) {
	for _, slot := range ix.shards[shard].load() {
		used := &slot.entry.used.at
		if used.Load() == unknownUse {
			used.CompareAndSwap(unknownUse, stored.of(slot.tag))
		}
	}
}
