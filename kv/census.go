package kv

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"tokend/kv/internal/badgerdb"
	"tokend/kv/internal/index"
)

// Census is how many tokens there are at a moment.
type Census struct {
	Active, Inactive, Expired int // by their status

	// Expiring is how many active ones will have expired when each of the times
	// that were asked for has passed.
	Expiring []int
}

// Total is how many tokens there are.
func (c Census) Total() int { return c.Active + c.Inactive + c.Expired }

// Census counts the tokens without reading them. It is not known in the first
// moments after Open, in which all are read once, nor after that has failed.
func (s *Store) Census(within ...time.Duration) (c Census, known bool) {
	return s.census.at(s.now().UnixMilli(), within)
}

// census is what is counted of the tokens: those of a snapshot, which is read in
// the background, and every change since.
type census struct {
	mu       sync.Mutex
	counting bool // the snapshot is being read
	known    bool
	early    []counted // what comes and goes meanwhile
	counts
}

type counts struct {
	total    int
	inactive int
	expiries moments // of the tokens that are not inactive
	graces   graces
}

func newCensus() *census { return &census{counting: true} }

// counted is what is counted of a record.
type counted struct {
	by       int // 1 or -1: whether it comes or goes
	active   bool
	expires  int64     // Unix milliseconds; 0: never
	oldValue index.Key // where grace is not zero
	grace    grace
}

func (f fields) counted(by int) counted {
	c := counted{by: by, active: f.Active, expires: f.Expires}
	if f.Previous != nil {
		c.oldValue = index.KeyOf(f.Previous.Hash)
		c.grace = grace{begins: f.ValueMade, ends: f.Previous.Until, next: index.KeyOf(f.Hash)}
	}
	return c
}

// publish takes over what was committed.
func (c *census) publish(changes []change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, change := range changes {
		if change.before != nil {
			c.take(fieldsOf(*change.before).counted(-1))
		}
		if change.after != nil {
			c.take(fieldsOf(*change.after).counted(1))
		}
	}
}

func (c *census) take(r counted) {
	switch {
	case c.known:
		c.counts.take(r)
	case c.counting:
		c.early = append(c.early, r)
	}
}

// take counts what comes or goes.
func (c *counts) take(r counted) {
	c.total += r.by
	switch {
	case !r.active:
		c.inactive += r.by
	case r.expires != 0 && r.by > 0:
		c.expiries.add(r.expires)
	case r.expires != 0:
		c.expiries.remove(r.expires)
	}
	switch {
	case r.grace == grace{}:
	case r.by > 0:
		c.graces.add(r.oldValue, r.grace)
	default:
		c.graces.remove(r.oldValue)
	}
}

// count reads a snapshot that was taken before the first change.
func (c *census) count(snapshot badgerdb.View, closed *atomic.Bool) error {
	counts, err := countRecords(snapshot, closed)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counting, c.known = false, err == nil
	if c.known {
		c.counts = counts
		for _, r := range c.early {
			c.take(r)
		}
	}
	c.early = nil
	return err
}

// countRecords takes the records' seals on trust, which whoever gets a token
// checks.
func countRecords(snapshot badgerdb.View, closed *atomic.Bool) (counts, error) {
	var c counts
	for entry, err := range snapshot.Entries(recordPrefix, nil) {
		if closed.Load() {
			return c, ErrClosed
		}
		var f fields
		if err == nil {
			_, f, _, err = decodeRecord(entry.Value)
		}
		if err != nil {
			return c, fmt.Errorf("token %q: %w", nameOf(entry.Key), err)
		}
		c.take(f.counted(1))
	}
	return c, nil
}

func (c *census) at(now int64, within []time.Duration) (Census, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	expired := c.expiries.upTo(now)
	counts := Census{Active: c.total - c.inactive - expired, Inactive: c.inactive, Expired: expired}
	for _, d := range within {
		counts.Expiring = append(counts.Expiring, c.expiries.upTo(now+d.Milliseconds())-expired)
	}
	return counts, c.known
}
