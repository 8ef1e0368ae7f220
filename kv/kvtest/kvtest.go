// Package kvtest gives tests a real store: on disk, in a temporary folder, with
// a clock that only moves when told, and a look at every record and index entry
// when the test ends, and for secrets in its files.
package kvtest

import (
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"tokend/kv"
	"tokend/kv/internal/badgerdb"
)

// Start is what the clock of a new store shows.
var Start = time.Date(2030, 1, 2, 3, 4, 5, 678e6, time.UTC)

// Store is a store under test.
type Store struct {
	*kv.Store
	Clock   *Clock
	Options kv.Options // what it was opened with

	t       testing.TB
	damaged bool
}

// New makes a store that is checked and closed when the test ends. Each
// adjustment may change the options before it is opened.
func New(t testing.TB, adjust ...func(*kv.Options)) *Store {
	t.Helper()
	clock := &Clock{}
	clock.Set(Start)
	s := &Store{
		Clock: clock,
		Options: kv.Options{
			Dir:        t.TempDir(),
			MasterKeys: []kv.MasterKey{kv.NewMasterKey()},
			MaxIndexed: 1 << 20,
			Now:        clock.Now,
			Log:        slog.New(slog.DiscardHandler),
		},
		t: t,
	}
	for _, f := range adjust {
		f(&s.Options)
	}
	s.open()
	t.Cleanup(s.shut)
	return s
}

// Reopen closes the store, after a look at all of it, and opens it again.
func (s *Store) Reopen() {
	s.t.Helper()
	s.shut()
	s.open()
}

func (s *Store) open() {
	s.t.Helper()
	opened, err := kv.Open(s.Options)
	if err != nil {
		s.t.Fatal(err)
	}
	s.Store = opened
}

// shut does nothing to a store that the test closed itself.
func (s *Store) shut() {
	s.t.Helper()
	snapshot, err := s.Snapshot()
	if err != nil {
		return
	}
	err = snapshot.CheckIntegrity()
	snapshot.Close()
	if err != nil && !s.damaged {
		s.t.Errorf("integrity: %v", err)
	}
	secrets := s.secrets()
	if err := s.Close(); err != nil {
		s.t.Errorf("close: %v", err)
	}
	ExpectNoSecretIn(s.t, s.Options.Dir, secrets...)
}

// Damage changes a bit of a token's sealed value behind the store's back.
func (s *Store) Damage(name string) {
	s.t.Helper()
	s.damage(name, func(raw []byte) { raw[len(raw)-1] ^= 1 })
}

// Garble makes a token's record one of an unknown version.
func (s *Store) Garble(name string) {
	s.t.Helper()
	s.damage(name, func(raw []byte) { raw[0] ^= 1 })
}

func (s *Store) damage(name string, change func(raw []byte)) {
	s.t.Helper()
	s.shut()
	err := Edit(s.Options.Dir, func(e *Edits) error {
		raw, err := e.Get("t/" + name)
		if err != nil {
			return err
		}
		change(raw)
		e.Set("t/"+name, raw)
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.damaged = true
	s.open()
}

// Edits are changes of a store behind its back.
type Edits struct{ batch *badgerdb.Batch }

// Get is what is stored under a key.
func (e *Edits) Get(key string) ([]byte, error) { return e.batch.View().Get([]byte(key)) }

// Keys are the keys that begin with a prefix.
func (e *Edits) Keys(prefix string) (keys []string) {
	for entry, err := range e.batch.View().Entries(prefix, nil) {
		if err != nil {
			panic(err)
		}
		keys = append(keys, string(entry.Key))
	}
	return keys
}

// Set stores something under a key.
func (e *Edits) Set(key string, value []byte) {
	e.batch.Add(badgerdb.Write{Key: []byte(key), Value: append([]byte{}, value...)})
}

// Delete removes a key.
func (e *Edits) Delete(key string) { e.batch.Add(badgerdb.Write{Key: []byte(key)}) }

// Edit changes a store that is closed behind its back.
func Edit(dir string, change func(*Edits) error) error {
	db, err := badgerdb.Open(badgerdb.Options{Dir: dir, Log: slog.New(slog.DiscardHandler)}, badgerdb.Serve)
	if err != nil {
		return err
	}
	batch := db.NewBatch()
	err = change(&Edits{batch})
	if err == nil {
		err = db.Commit(batch)
	}
	return errors.Join(err, db.Close(0))
}

// Clock shows the time it was set to.
type Clock struct{ now atomic.Pointer[time.Time] }

// Now is the time it shows.
func (c *Clock) Now() time.Time { return *c.now.Load() }

// Set moves the clock, forwards or back.
func (c *Clock) Set(t time.Time) { c.now.Store(&t) }

// Advance moves the clock forwards.
func (c *Clock) Advance(d time.Duration) { c.Set(c.Now().Add(d)) }
