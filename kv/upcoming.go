package kv

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// OldValues are how many values there are that a rotation replaced and whose
// grace has not ended. A use shortly after the rotation tells nothing: the program
// may have got the new value since. So an old value counts as used where that was
// in the later half of the time since the rotation, or where the new value was not
// used afterwards.
type OldValues struct {
	Unused int
	Used   int
	Ending int // used, and in the last quarter of their grace
}

// Due is when something ends about a token.
type Due struct {
	Name string
	At   time.Time
}

// OldValues counts the old values that are good, and those that somebody still
// presents.
func (s *Store) OldValues() (o OldValues, err error) {
	return s.oldValues.get(func() (o OldValues, err error) {
		now := s.now().UnixMilli()
		err = s.eachOldValue(now, func(_ fingerprint, g grace, used bool) {
			switch {
			case !used:
				o.Unused++
			case now < g.ends-(g.ends-g.begins)/4:
				o.Used++
			default:
				o.Ending++
			}
		})
		return o, err
	})
}

// eachOldValue visits the values before a rotation that are good, and says whether
// they are still used.
func (s *Store) eachOldValue(now int64, visit func(f fingerprint, g grace, used bool)) error {
	return s.operate(func() error {
		for piece := range s.census.graces {
			for f, g := range s.census.goodOldValues(piece, now) {
				used, err := s.isInUse(f, g, now)
				if err != nil {
					return err
				}
				visit(f, g, used)
			}
		}
		return nil
	})
}

// isInUse reports whether an old value is still used.
func (s *Store) isInUse(f fingerprint, g grace, now int64) (bool, error) {
	old, err := s.index.lastUsed(f, s.uses)
	if err != nil || old.UnixMilli() <= g.begins {
		return false, err
	}
	if 2*(old.UnixMilli()-g.begins) >= now-g.begins {
		return true, nil
	}
	next, err := s.index.lastUsed(g.next, s.uses)
	return next.Before(old), err
}

// goodOldValues are a piece of those that are good; it forgets the others.
func (c *census) goodOldValues(piece int, now int64) map[fingerprint]grace {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.graces[piece], func(_ fingerprint, g grace) bool { return now >= g.ends })
	return maps.Clone(c.graces[piece])
}

// What is named: as many as somebody can see to, in the time in which he should.
const (
	maxDue    = 100
	dueWithin = 30 * 24 * time.Hour
)

// ExpiringNext are the up to 100 active tokens that expire next, within 30 days.
// Only tokens that the index holds are seen.
func (s *Store) ExpiringNext() ([]Due, error) {
	return s.expiring.get(func() ([]Due, error) {
		now := s.now().UnixMilli()
		var next soonest
		for shard := range shardCount {
			b := s.index.shards[shard].block.Load()
			for i := range b.entries {
				e := b.at(i)
				if e.is(doesExpire) && !e.is(isRotated) && e.valid(now) && e.expirationDate <= now+dueWithin.Milliseconds() {
					next.add(e.name(), e.expirationDate)
				}
			}
		}
		return next.first(), nil
	})
}

// OldValuesInUse are up to 100 tokens whose old value is still used, those whose
// grace ends first. Only values that the index holds are seen.
func (s *Store) OldValuesInUse() ([]Due, error) {
	return s.inUse.get(func() ([]Due, error) {
		var next soonest
		err := s.eachOldValue(s.now().UnixMilli(), func(f fingerprint, g grace, used bool) {
			if e, ok := s.index.find(f); ok && used {
				next.add(e.name(), g.ends)
			}
		})
		return next.first(), err
	})
}

// soonest gathers what ends first.
type soonest []Due

func (s *soonest) add(name string, at int64) {
	*s = append(*s, Due{name, fromMilli(at)})
	if len(*s) >= 8*maxDue {
		*s = s.first()
	}
}

// first gives no name twice: a token that is changed meanwhile may be met in two
// places.
func (s soonest) first() []Due {
	slices.SortFunc(s, func(a, b Due) int { return cmp.Or(a.At.Compare(b.At), strings.Compare(a.Name, b.Name)) })
	seen := make(map[string]bool, len(s))
	s = slices.DeleteFunc(s, func(d Due) bool {
		twice := seen[d.Name]
		seen[d.Name] = true
		return twice
	})
	return s[:min(maxDue, len(s))]
}

// paced keeps what takes long to find for a minute at most, so that hardly more
// than a hundredth of the time goes into finding it, however often it is asked for.
type paced[T any] struct {
	mu    sync.Mutex
	found T
	until time.Time // it need not be found again
}

func (p *paced[T]) get(find func() (T, error)) (T, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	begin := time.Now()
	if begin.Before(p.until) {
		return p.found, nil
	}
	found, err := find()
	if err != nil {
		return found, err
	}
	end := time.Now()
	p.found, p.until = found, end.Add(min(100*end.Sub(begin), time.Minute))
	return found, nil
}
