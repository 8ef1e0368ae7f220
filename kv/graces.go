package kv

import (
	"errors"
	"maps"
	"time"
)

// OldValues are the values that a rotation replaced and whose grace has not ended.
//
// A use after the rotation alone tells little: the program may have got the new
// value since. So one counts as used if it was used since the rotation, and either
// the new value was not used later, or its own last use is no longer ago than a
// quarter of the grace, and at most 25 hours, in which a daily job has its turn.
type OldValues struct {
	Unused int
	Used   int
	Ending int   // used, and in the last quarter of their grace
	InUse  []Due // of both, the up to 100 tokens whose grace ends first, that the index holds
}

const longestIdle = 25 * time.Hour

// OldValues counts the old values that are good, as they were at most a minute ago.
// They are known when the census is.
func (s *Store) OldValues() (o OldValues, known bool) {
	return s.oldValues.get(func() (OldValues, bool) {
		if _, known := s.Census(); !known {
			return OldValues{}, false
		}
		var found OldValues
		err := s.operate(func() (err error) {
			found, err = s.countOldValues(s.now().UnixMilli())
			return err
		})
		if err != nil && !errors.Is(err, ErrClosed) {
			s.log.Error("the old values could not be counted", "err", err)
		}
		return found, err == nil
	})
}

func (s *Store) countOldValues(now int64) (o OldValues, err error) {
	var inUse soonest
	for piece := range s.census.graces {
		if s.closed.Load() {
			return o, ErrClosed
		}
		read := remembering(s.uses)
		for f, g := range s.census.piece(piece, now) {
			used, err := s.isInUse(f, g, now, read)
			switch {
			case err != nil:
				return o, err
			case now >= g.ends:
				continue
			case !used:
				o.Unused++
				continue
			case now < g.ends-(g.ends-g.begins)/4:
				o.Used++
			default:
				o.Ending++
			}
			if e, ok := s.index.find(f); ok {
				inUse.add(e.name(), g.ends)
			}
		}
	}
	o.InUse = inUse.first()
	return o, nil
}

// isInUse reports whether an old value is still used.
func (s *Store) isInUse(f fingerprint, g grace, now int64, read func(shard int) (uses, error)) (bool, error) {
	old, err := s.index.lastUsed(f, read)
	if err != nil || old.UnixMilli() <= g.begins {
		return false, err
	}
	if now-old.UnixMilli() <= min((g.ends-g.begins)/4, longestIdle.Milliseconds()) {
		return true, nil
	}
	next, err := s.index.lastUsed(g.next, read)
	return !next.After(old), err
}

// remembering reads each shard once, since many values lie in one.
func remembering(read func(shard int) (uses, error)) func(shard int) (uses, error) {
	known := map[int]uses{}
	return func(shard int) (uses, error) {
		if u, ok := known[shard]; ok {
			return u, nil
		}
		u, err := read(shard)
		if err == nil {
			known[shard] = u
		}
		return u, err
	}
}

// grace is how long the value before a rotation was and will be good, in Unix
// milliseconds, and the value after it.
type grace struct {
	begins, ends int64
	next         fingerprint
}

// graces are those of old values, by their fingerprints' first bits, so that a look
// at all of them holds nobody up.
type graces [256]map[fingerprint]grace

func (g *graces) of(f fingerprint) *map[fingerprint]grace { return &g[f.tag>>(64-8)] }

func (g *graces) add(f fingerprint, added grace) {
	piece := g.of(f)
	if *piece == nil {
		*piece = map[fingerprint]grace{}
	}
	(*piece)[f] = added
}

func (g *graces) remove(f fingerprint) { delete(*g.of(f), f) }

// piece is a copy of a part of the graces. Those that ended a day ago are forgotten,
// since a clock may be set back.
func (c *census) piece(i int, now int64) map[fingerprint]grace {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.graces[i], func(_ fingerprint, g grace) bool { return now-g.ends > (24 * time.Hour).Milliseconds() })
	return maps.Clone(c.graces[i])
}
