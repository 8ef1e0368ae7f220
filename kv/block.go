package kv

import (
	"encoding/binary"
	"math/bits"
	"sync/atomic"
	"unsafe"
)

// block is the entries of a shard in the order of their tags. But for the last
// uses it is not changed: a change makes another one of it.
//
// What a verification among a million tokens costs is memory that is in no cache,
// so an entry fills one cache line with its name, and those of a shard lie
// together. They hold no pointers for the garbage collector to follow.
type block struct {
	entries    []entry
	longNames  []string    // of those that do not fit their entries
	superseded atomic.Bool // by another block, which has what was last used until now
}

// entry is what a verification needs to know of a value.
type entry struct {
	fingerprint    fingerprint
	expirationDate int64 // Unix milliseconds, as in Token
	valueMade      int64 // Unix milliseconds
	lastUse        int64 // Unix milliseconds, neverUsed or unknownUse; atomic
	flags          uint8
	nameLength     uint8 // or nameIsLong
	shortName      [22]byte
}

const (
	isActive = 1 << iota
	mayWrite
	doesExpire
)

// nameIsLong says that shortName holds a place in longNames instead.
const nameIsLong = 255

// fingerprint is the half of a lookup hash by which an entry is known. Its tag
// orders the entries, and stands for the value where its last use is on disk.
type fingerprint struct{ tag, rest uint64 }

func (h lookupHash) fingerprint() fingerprint {
	return fingerprint{binary.BigEndian.Uint64(h[:8]), binary.BigEndian.Uint64(h[8:16])}
}

// search is the place of the first entry whose tag is not below. Tags are evenly
// spread, so that a tag itself tells nearly where it is, and what is there tells
// how far it is from there: of many cache lines hardly three are touched.
func (b *block) search(tag uint64) int {
	if len(b.entries) == 0 {
		return 0
	}
	i := b.distance(tag << shardBits)
	if there := b.entries[i].fingerprint.tag; there < tag {
		i = min(i+b.distance((tag-there)<<shardBits), len(b.entries)-1)
	} else {
		i = max(i-b.distance((there-tag)<<shardBits), 0)
	}
	for i > 0 && b.entries[i-1].fingerprint.tag >= tag {
		i--
	}
	for i < len(b.entries) && b.entries[i].fingerprint.tag < tag {
		i++
	}
	return i
}

// distance is how many entries there are in a part of the shard's range of tags,
// on the average.
func (b *block) distance(part uint64) int {
	entries, _ := bits.Mul64(part, uint64(len(b.entries)))
	return int(entries) //nolint:gosec // below the length
}

// find is the place of an entry, or the one where it belongs.
func (b *block) find(f fingerprint) (i int, found bool) {
	for i = b.search(f.tag); i < len(b.entries) && b.entries[i].fingerprint.tag == f.tag; i++ {
		if b.entries[i].fingerprint == f {
			return i, true
		}
	}
	return i, false
}

func (b *block) hasTag(tag uint64) bool {
	i := b.search(tag)
	return i < len(b.entries) && b.entries[i].fingerprint.tag == tag
}

// found is an entry as a reader has it.
type found struct {
	*entry
	block *block
	place int
}

func (b *block) at(i int) found { return found{&b.entries[i], b, i} }

func (e found) name() string { return e.block.name(e.place) }

func (b *block) name(i int) string {
	e := &b.entries[i]
	if e.nameLength == nameIsLong {
		return b.longNames[binary.LittleEndian.Uint32(e.shortName[:])]
	}
	return unsafe.String(&e.shortName[0], e.nameLength) //nolint:gosec // it never changes, and a copy costs
}

// edited is a block in which a record, or none, stands in the place of the
// entries from one place to another.
func (b *block) edited(from, to int, r *record, lastUse int64) *block {
	size := len(b.entries) - (to - from)
	if r != nil {
		size++
	}
	next := &block{entries: make([]entry, 0, size)}
	for i := range from {
		next.add(b.entries[i].copy(), b.name(i))
	}
	if r != nil {
		next.add(newEntry(r, lastUse), r.Name)
	}
	for i := to; i < len(b.entries); i++ {
		next.add(b.entries[i].copy(), b.name(i))
	}
	return next
}

func (b *block) add(e entry, name string) {
	if len(name) <= len(e.shortName) {
		e.nameLength = uint8(copy(e.shortName[:], name)) //nolint:gosec // at most 22
	} else {
		e.nameLength = nameIsLong
		binary.LittleEndian.PutUint32(e.shortName[:], uint32(len(b.longNames))) //nolint:gosec // few
		b.longNames = append(b.longNames, name)
	}
	b.entries = append(b.entries, e)
}

func newEntry(r *record, lastUse int64) entry {
	e := entry{
		fingerprint:    r.hash.fingerprint(),
		expirationDate: r.ExpirationDate().UnixMilli(),
		valueMade:      r.valueMade.UnixMilli(),
		lastUse:        lastUse,
	}
	if r.Active {
		e.flags |= isActive
	}
	if r.Write {
		e.flags |= mayWrite
	}
	if r.Expires() {
		e.flags |= doesExpire
	}
	return e
}

// copy is the entry for another block. Its last use may be changing.
func (e *entry) copy() entry {
	return entry{
		fingerprint:    e.fingerprint,
		expirationDate: e.expirationDate,
		valueMade:      e.valueMade,
		lastUse:        e.loadUse(),
		flags:          e.flags,
	}
}

func (e *entry) is(flag uint8) bool { return e.flags&flag != 0 }

// valid reports whether the token is good at a moment, in Unix milliseconds.
func (e *entry) valid(now int64) bool {
	return e.is(isActive) && (!e.is(doesExpire) || now < e.expirationDate)
}
