package index

import (
	"encoding/binary"
	"errors"
	"sync/atomic"
)

// What an entry's last use is where it is no time.
const (
	neverUsed  = 0
	unknownUse = -1 // the disk has it, if there is any
)

func (e *entry) loadUse() int64 { return atomic.LoadInt64(&e.lastUse) }

func (e *entry) raiseUse(now int64) {
	for {
		at := e.loadUse()
		if at >= now || atomic.CompareAndSwapInt64(&e.lastUse, at, now) {
			return
		}
	}
}

// Use notes that a value was found valid, at a time in Unix milliseconds.
func (ix *Index) Use(e Found, now int64) {
	e.raiseUse(now)
	sh := ix.shard(e.key.tag)
	if e.block.superseded.Load() {
		ix.recordLateUse(sh, e.key, now)
	}
	ix.markDirty(sh)
}

// recordLateUse notes the use of a value whose entry is no longer there.
func (ix *Index) recordLateUse(sh *shard, k Key, now int64) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	b := sh.block.Load()
	if i, found := b.find(k); found {
		b.entries[i].raiseUse(now)
		return
	}
	if _, deleted := sh.removedUses[k.tag]; !deleted && !ix.Whole() {
		ix.keepUnindexedUse(sh, k.tag, now)
	}
}

// markDirty says that a shard has what is not on disk yet.
func (ix *Index) markDirty(sh *shard) {
	if sh.dirty.Load() {
		return
	}
	sh.dirty.Store(true)
	select {
	case ix.woken <- struct{}{}:
	default:
	}
}

// keepUnindexedUse keeps the last use of a token without an entry until it is on disk.
func (ix *Index) keepUnindexedUse(sh *shard, tag uint64, at int64) {
	if sh.unindexedUses == nil {
		sh.unindexedUses = map[uint64]int64{}
	}
	sh.unindexedUses[tag] = max(sh.unindexedUses[tag], at)
	ix.markDirty(sh)
}

// lastUse is the last use of a value, as far as memory knows it.
func (ix *Index) lastUse(k Key) int64 {
	sh := ix.shard(k.tag)
	sh.mu.Lock() // a use may be on its way from one block to another
	defer sh.mu.Unlock()
	b := sh.block.Load()
	if i, found := b.find(k); found {
		return b.entries[i].loadUse()
	}
	if at, ok := sh.unindexedUses[k.tag]; ok {
		return at
	}
	if at, ok := sh.removedUses[k.tag]; ok { // somebody reads an older state
		return at
	}
	return unknownUse
}

// LastUse is when a value was last found valid, in Unix milliseconds, or 0 for never, and
// whether memory knows. What it does not know is to be read from disk afterwards, since a
// flush may just have brought it there.
func (ix *Index) LastUse(k Key) (at int64, known bool) {
	at = ix.lastUse(k)
	return max(at, neverUsed), at != unknownUse
}

// Uses are the last uses of a shard's tokens as they lie on disk: for each that
// was ever used its tag and the time.
type Uses []byte

const (
	usesVersion = 1 // the first byte where they are stored
	useSize     = 16
)

// Encode is the uses as they are stored.
func (u Uses) Encode() []byte { return append([]byte{usesVersion}, u...) }

// DecodeUses is the reverse of Encode.
func DecodeUses(raw []byte) (Uses, error) {
	if len(raw)%useSize != 1 || raw[0] != usesVersion {
		return nil, errors.New("last uses are not readable")
	}
	return raw[1:], nil
}

// Len is how many there are.
func (u Uses) Len() int { return len(u) / useSize }

func (u Uses) at(i int) (tag uint64, at int64) {
	pair := u[i*useSize:]
	return binary.BigEndian.Uint64(pair), int64(binary.BigEndian.Uint64(pair[8:])) //nolint:gosec // as it was written
}

func (u Uses) with(tag uint64, at int64) Uses {
	u = binary.BigEndian.AppendUint64(u, tag)
	return binary.BigEndian.AppendUint64(u, uint64(at)) //nolint:gosec // after 1970
}

// Of is the last use of a value, 0 for never.
func (u Uses) Of(k Key) int64 { return u.of(k.tag) }

// BelongTo reports whether all of them belong to a shard.
func (u Uses) BelongTo(shard int) bool {
	for i := range u.Len() {
		if tag, _ := u.at(i); shardOf(tag) != shard {
			return false
		}
	}
	return true
}

func (u Uses) of(tag uint64) int64 {
	for i := range u.Len() {
		if t, at := u.at(i); t == tag {
			return at
		}
	}
	return neverUsed
}

// KnowsUses reports whether memory knows the last uses of all tokens of a shard.
func (ix *Index) KnowsUses(shard int) bool {
	if !ix.Whole() {
		return false
	}
	b := ix.shards[shard].block.Load()
	for i := range b.entries {
		if b.entries[i].loadUse() == unknownUse {
			return false
		}
	}
	return true
}

// Collect gives a shard's last uses as they are to be stored: what memory knows,
// and of the other tokens what is stored already.
func (ix *Index) Collect(shard int, stored Uses) Uses {
	sh := &ix.shards[shard]
	whole := ix.Whole() // looked at before the entries: what they lack does not exist then
	sh.mu.Lock()
	defer sh.mu.Unlock()
	b := sh.block.Load()
	all := make(Uses, 0, len(stored)+useSize*(len(b.entries)+len(sh.unindexedUses)))
	for i := range b.entries {
		tag, at := b.entries[i].key.tag, b.entries[i].loadUse()
		if at == unknownUse {
			at = stored.of(tag)
		}
		if at != neverUsed {
			all = all.with(tag, at)
		}
	}
	for tag, at := range sh.unindexedUses {
		if at != neverUsed {
			all = all.with(tag, at)
		}
	}
	for i := range stored.Len() {
		tag, at := stored.at(i)
		if !whole && !sh.knows(b, tag) {
			all = all.with(tag, at)
		}
	}
	return all
}

// knows reports whether memory decides about a token's last use.
func (sh *shard) knows(b *block, tag uint64) bool {
	_, removed := sh.removedUses[tag]
	_, unindexed := sh.unindexedUses[tag]
	return removed || unindexed || b.hasTag(tag)
}

// Settle forgets what is on disk now.
func (ix *Index) Settle(shard int, stored Uses) {
	sh := &ix.shards[shard]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.removedUses = nil
	for tag, at := range sh.unindexedUses {
		if stored.of(tag) == at {
			delete(sh.unindexedUses, tag)
		}
	}
	if len(sh.unindexedUses) == 0 {
		sh.unindexedUses = nil
	}
}

// Learn gives the entries of a shard that do not know their last use what is
// stored.
func (ix *Index) Learn(shard int, stored Uses) {
	sh := &ix.shards[shard]
	sh.mu.Lock() // so that the block stays
	defer sh.mu.Unlock()
	b := sh.block.Load()
	for i := range b.entries {
		if e := &b.entries[i]; e.loadUse() == unknownUse {
			atomic.CompareAndSwapInt64(&e.lastUse, unknownUse, stored.of(e.key.tag))
		}
	}
}
