package kv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
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

// use notes that a value was found valid.
func (ix *index) use(e found, now int64) {
	e.raiseUse(now)
	sh := ix.shard(e.fingerprint.tag)
	if e.block.superseded.Load() {
		ix.useLate(sh, e.fingerprint, now)
	}
	ix.soil(sh)
}

// useLate notes the use of a value whose entry is no longer there.
func (ix *index) useLate(sh *shard, f fingerprint, now int64) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	b := sh.block.Load()
	if i, found := b.find(f); found {
		b.entries[i].raiseUse(now)
		return
	}
	if _, deleted := sh.dropped[f.tag]; !deleted && !ix.whole() {
		ix.stray(sh, f.tag, now)
	}
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

// stray keeps the last use of a token without an entry until it is on disk.
func (ix *index) stray(sh *shard, tag uint64, at int64) {
	if sh.strays == nil {
		sh.strays = map[uint64]int64{}
	}
	sh.strays[tag] = max(sh.strays[tag], at)
	ix.soil(sh)
}

// lastUse is the last use of a value, as far as memory knows it.
func (ix *index) lastUse(f fingerprint) int64 {
	sh := ix.shard(f.tag)
	sh.mu.Lock() // a use may be on its way from one block, or a stray, to another
	defer sh.mu.Unlock()
	b := sh.block.Load()
	if i, found := b.find(f); found {
		return b.entries[i].loadUse()
	}
	if at, ok := sh.strays[f.tag]; ok {
		return at
	}
	if at, ok := sh.dropped[f.tag]; ok { // somebody reads an older state
		return at
	}
	return unknownUse
}

// lastUsed is when a value was last found valid, zero where it never was. What
// memory does not know is read afterwards, since a flush may just have brought
// it to disk.
func (ix *index) lastUsed(f fingerprint, read func(shard int) (uses, error)) (time.Time, error) {
	at := ix.lastUse(f)
	if at == unknownUse {
		uses, err := read(shardOf(f.tag))
		if err != nil {
			return time.Time{}, err
		}
		at = uses.of(f.tag)
	}
	if at == neverUsed {
		return time.Time{}, nil
	}
	return fromMilli(at), nil
}

// addUses completes a record with when its values were last used.
func (ix *index) addUses(r *record, read func(shard int) (uses, error)) error {
	at, err := ix.lastUsed(r.hash.fingerprint(), read)
	if err != nil {
		return err
	}
	if r.hasPrevious() {
		if r.PreviousLastUsedAt, err = ix.lastUsed(r.previous.hash.fingerprint(), read); err != nil {
			return err
		}
	}
	for _, use := range []time.Time{at, r.PreviousLastUsedAt} {
		if use.After(r.LastUsedAt) {
			r.LastUsedAt = use
		}
	}
	return nil
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

// uses is view.uses in the latest state.
func (s *Store) uses(shard int) (uses uses, err error) {
	err = s.read(func(view view) error {
		uses, err = view.uses(shard)
		return err
	})
	return uses, err
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

// knowsUses reports whether memory knows the last uses of all tokens of a shard.
func (ix *index) knowsUses(shard int) bool {
	if !ix.whole() {
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

// collect gives a shard's last uses as they are to be stored: what memory knows,
// and of the other tokens what is stored already.
func (ix *index) collect(shard int, stored uses) uses {
	sh := &ix.shards[shard]
	whole := ix.whole() // looked at before the entries: what they lack does not exist then
	sh.mu.Lock()
	defer sh.mu.Unlock()
	b := sh.block.Load()
	all := make(uses, 0, len(stored)+useSize*(len(b.entries)+len(sh.strays)))
	for i := range b.entries {
		tag, at := b.entries[i].fingerprint.tag, b.entries[i].loadUse()
		if at == unknownUse {
			at = stored.of(tag)
		}
		if at != neverUsed {
			all = all.with(tag, at)
		}
	}
	for tag, at := range sh.strays {
		if at != neverUsed {
			all = all.with(tag, at)
		}
	}
	for i := range stored.len() {
		tag, at := stored.at(i)
		if !whole && !sh.knows(b, tag) {
			all = all.with(tag, at)
		}
	}
	return all
}

// knows reports whether memory decides about a token's last use.
func (sh *shard) knows(b *block, tag uint64) bool {
	_, dropped := sh.dropped[tag]
	_, stray := sh.strays[tag]
	return dropped || stray || b.hasTag(tag)
}

// settle forgets what is on disk now.
func (ix *index) settle(shard int, stored uses) {
	sh := &ix.shards[shard]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.dropped = nil
	for tag, at := range sh.strays {
		if stored.of(tag) == at {
			delete(sh.strays, tag)
		}
	}
	if len(sh.strays) == 0 {
		sh.strays = nil
	}
}

// learn gives the entries of a shard that do not know their last use what is
// stored.
func (ix *index) learn(shard int, stored uses) {
	sh := &ix.shards[shard]
	sh.mu.Lock() // so that the block stays
	defer sh.mu.Unlock()
	b := sh.block.Load()
	for i := range b.entries {
		if e := &b.entries[i]; e.loadUse() == unknownUse {
			atomic.CompareAndSwapInt64(&e.lastUse, unknownUse, stored.of(e.fingerprint.tag))
		}
	}
}
