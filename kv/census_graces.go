package kv

import (
	"errors"
	"maps"
	"time"

	"tokend/kv/internal/index"
)

// OldValues are the values that a rotation replaced and whose grace has not ended.
//
// A use after the rotation tells little by itself: the program may have got the new
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
			s.log.Error("cannot count the old values", "err", err)
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
		read := memoizeUses(s.uses)
		for f, g := range s.census.snapshotShard(piece, now) {
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
			if e, ok := s.index.Find(f); ok {
				inUse.add(e.Name(), g.ends)
			}
		}
	}
	o.InUse = inUse.first()
	return o, nil
}

// isInUse reports whether an old value is still used.
func (s *Store) isInUse(f index.Key, g grace, now int64, read func(shard int) (index.Uses, error)) (bool, error) {
	old, err := lastUsed(s.index, f, read)
	if err != nil || old.UnixMilli() <= g.begins {
		return false, err
	}
	if now-old.UnixMilli() <= min((g.ends-g.begins)/4, longestIdle.Milliseconds()) {
		return true, nil
	}
	next, err := lastUsed(s.index, g.next, read)
	return !next.After(old), err
}

// memoizeUses reads each shard once, since many values lie in one.
func memoizeUses(read func(shard int) (index.Uses, error)) func(shard int) (index.Uses, error) {
	known := map[int]index.Uses{}
	return func(shard int) (index.Uses, error) {
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
	next         index.Key
}

// graces are those of old values, by their shards, so that a look
// at all of them holds nobody up.
type graces [256]map[index.Key]grace

func (g *graces) of(f index.Key) *map[index.Key]grace { return &g[f.Shard()%len(g)] }

func (g *graces) add(f index.Key, added grace) {
	piece := g.of(f)
	if *piece == nil {
		*piece = map[index.Key]grace{}
	}
	(*piece)[f] = added
}

func (g *graces) remove(f index.Key) { delete(*g.of(f), f) }

// snapshotShard is a copy of a part of the graces. Those that ended a day ago are forgotten,
// since a clock may be set back.
func (c *census) snapshotShard(i int, now int64) map[index.Key]grace {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.graces[i], func(_ index.Key, g grace) bool { return now-g.ends > (24 * time.Hour).Milliseconds() })
	return maps.Clone(c.graces[i])
}
