package index

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
	overflows  []overflow  // of the few that need one
	superseded atomic.Bool // by another block, which has what was last used until now
}

// entry is what a verification needs to know of a value.
type entry struct {
	key            Key
	expirationDate int64 // Unix milliseconds
	valueMade      int64 // Unix milliseconds
	lastUse        int64 // Unix milliseconds, neverUsed or unknownUse; atomic
	flags          uint8
	nameLength     uint8 // or inOverflow
	shortName      [22]byte
}

// overflow is what an entry has no place for.
type overflow struct {
	name      string
	graceEnds int64 // Unix milliseconds; of an entry that isRotated
}

const (
	isActive = 1 << iota
	mayWrite
	doesExpire
	isRotated // the value before the last rotation
)

// inOverflow says that shortName holds a place in overflows instead.
const inOverflow = 255

// Key is the half of a lookup hash by which an entry is known. Its tag orders the entries,
// and stands for the value where its last use is on disk.
type Key struct{ tag, rest uint64 }

// KeyOf is the key of a lookup hash.
func KeyOf(hash [32]byte) Key {
	return Key{binary.BigEndian.Uint64(hash[:8]), binary.BigEndian.Uint64(hash[8:16])}
}

// Shard is the number of the shard in which a key belongs.
func (k Key) Shard() int { return shardOf(k.tag) }

// search is the place of the first entry whose tag is not below. Tags are evenly
// spread, so that a tag itself tells nearly where it is, and what is there tells
// how far it is from there: of many cache lines hardly three are touched.
func (b *block) search(tag uint64) int {
	if len(b.entries) == 0 {
		return 0
	}
	i := b.distance(tag << shardBits)
	if there := b.entries[i].key.tag; there < tag {
		i = min(i+b.distance((tag-there)<<shardBits), len(b.entries)-1)
	} else {
		i = max(i-b.distance((there-tag)<<shardBits), 0)
	}
	for i > 0 && b.entries[i-1].key.tag >= tag {
		i--
	}
	for i < len(b.entries) && b.entries[i].key.tag < tag {
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
func (b *block) find(k Key) (i int, found bool) {
	for i = b.search(k.tag); i < len(b.entries) && b.entries[i].key.tag == k.tag; i++ {
		if b.entries[i].key == k {
			return i, true
		}
	}
	return i, false
}

func (b *block) hasTag(tag uint64) bool {
	i := b.search(tag)
	return i < len(b.entries) && b.entries[i].key.tag == tag
}

// Found is an entry as a reader has it. Only its last use may change.
type Found struct {
	*entry
	block *block
	place int
}

func (b *block) at(i int) Found { return Found{&b.entries[i], b, i} }

// Name is the name of the value's token.
func (e Found) Name() string { return e.block.name(e.place) }

// Active is as in Entry.
func (e Found) Active() bool { return e.is(isActive) }

// Write is as in Entry.
func (e Found) Write() bool { return e.is(mayWrite) }

// Expires is as in Entry.
func (e Found) Expires() bool { return e.is(doesExpire) }

// Rotated is as in Entry.
func (e Found) Rotated() bool { return e.is(isRotated) }

// ExpirationDate is as in Entry.
func (e Found) ExpirationDate() int64 { return e.expirationDate }

// ValueMade is as in Entry.
func (e Found) ValueMade() int64 { return e.valueMade }

// GraceEnds is as in Entry.
func (e Found) GraceEnds() int64 { return e.block.overflow(e.place).graceEnds }

// Valid reports whether the value is good at a moment, in Unix milliseconds.
func (e Found) Valid(now int64) bool {
	return e.is(isActive) && (!e.is(doesExpire) || now < e.expirationDate) && (!e.is(isRotated) || now < e.GraceEnds())
}

func (b *block) name(i int) string {
	e := &b.entries[i]
	if e.nameLength == inOverflow {
		return b.overflow(i).name
	}
	return unsafe.String(&e.shortName[0], e.nameLength) //nolint:gosec // it never changes, and a copy costs
}

func (b *block) overflow(i int) overflow {
	return b.overflows[binary.LittleEndian.Uint32(b.entries[i].shortName[:])]
}

// content is an entry and all that belongs to it, on its way into a block.
type content struct {
	entry
	overflow
}

func (b *block) content(i int) content {
	c := content{entry: b.entries[i].copy()}
	if b.entries[i].nameLength == inOverflow {
		c.overflow = b.overflow(i)
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
		c.nameLength = inOverflow
		binary.LittleEndian.PutUint32(c.shortName[:], uint32(len(b.overflows))) //nolint:gosec // few
		b.overflows = append(b.overflows, c.overflow)
	}
	b.entries = append(b.entries, c.entry)
}

// newContent is an entry with a last use, on its way into a block.
func newContent(e Entry, lastUse int64) content {
	c := content{
		entry:    entry{key: e.Key, expirationDate: e.ExpirationDate, valueMade: e.ValueMade, lastUse: lastUse},
		overflow: overflow{name: e.Name},
	}
	if e.Rotated {
		c.graceEnds = e.GraceEnds
	}
	if e.Active {
		c.flags |= isActive
	}
	if e.Write {
		c.flags |= mayWrite
	}
	if e.Expires {
		c.flags |= doesExpire
	}
	if e.Rotated {
		c.flags |= isRotated
	}
	return c
}

// copy is the entry for another block. Its last use may be changing.
func (e *entry) copy() entry {
	return entry{
		key:            e.key,
		expirationDate: e.expirationDate,
		valueMade:      e.valueMade,
		lastUse:        e.loadUse(),
		flags:          e.flags,
	}
}

func (e *entry) is(flag uint8) bool { return e.flags&flag != 0 }
