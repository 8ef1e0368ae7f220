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
	asides     []aside     // of the few that need one
	superseded atomic.Bool // by another block, which has what was last used until now
}

// entry is what a verification needs to know of a value.
type entry struct {
	fingerprint    fingerprint
	expirationDate int64 // Unix milliseconds, as in Token
	valueMade      int64 // Unix milliseconds
	lastUse        int64 // Unix milliseconds, neverUsed or unknownUse; atomic
	flags          uint8
	nameLength     uint8 // or hasAside
	shortName      [22]byte
}

// aside is what an entry has no place for.
type aside struct {
	name      string
	graceEnds int64 // Unix milliseconds; of an entry that isRotated
}

const (
	isActive = 1 << iota
	mayWrite
	doesExpire
	isRotated // the value before the last rotation
)

// hasAside says that shortName holds a place in asides instead.
const hasAside = 255

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
	if e.nameLength == hasAside {
		return b.aside(i).name
	}
	return unsafe.String(&e.shortName[0], e.nameLength) //nolint:gosec // it never changes, and a copy costs
}

func (b *block) aside(i int) aside {
	return b.asides[binary.LittleEndian.Uint32(b.entries[i].shortName[:])]
}

// content is an entry and all that belongs to it, on its way into a block.
type content struct {
	entry
	aside
}

func (b *block) content(i int) content {
	c := content{entry: b.entries[i].copy()}
	if b.entries[i].nameLength == hasAside {
		c.aside = b.aside(i)
	} else {
		c.name = b.name(i)
	}
	return c
}

// edited is a block in which others stand in the place of the entries from one
// place to another.
func (b *block) edited(from, to int, others ...content) *block {
	next := &block{entries: make([]entry, 0, len(b.entries)-(to-from)+len(others))}
	for i := range from {
		next.add(b.content(i))
	}
	for _, c := range others {
		next.add(c)
	}
	for i := to; i < len(b.entries); i++ {
		next.add(b.content(i))
	}
	return next
}

func (b *block) add(c content) {
	if len(c.name) <= len(c.shortName) && !c.is(isRotated) {
		c.nameLength = uint8(copy(c.shortName[:], c.name)) //nolint:gosec // at most 22
	} else {
		c.nameLength = hasAside
		binary.LittleEndian.PutUint32(c.shortName[:], uint32(len(b.asides))) //nolint:gosec // few
		b.asides = append(b.asides, c.aside)
	}
	b.entries = append(b.entries, c.entry)
}

// newEntry is the entry for one of a record's values.
func newEntry(r *record, hash lookupHash, lastUse int64) content {
	e := content{
		entry: entry{
			fingerprint:    hash.fingerprint(),
			expirationDate: r.ExpirationDate().UnixMilli(),
			valueMade:      r.valueMade.UnixMilli(),
			lastUse:        lastUse,
		},
		aside: aside{name: r.Name},
	}
	if hash != r.hash {
		e.flags |= isRotated
		e.valueMade = r.previous.made.UnixMilli()
		e.graceEnds = r.PreviousValidUntil.UnixMilli()
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

// valid reports whether the value is good at a moment, in Unix milliseconds.
func (e found) valid(now int64) bool {
	return e.is(isActive) && (!e.is(doesExpire) || now < e.expirationDate) && (!e.is(isRotated) || now < e.graceEnds())
}

func (e found) graceEnds() int64 { return e.block.aside(e.place).graceEnds }
