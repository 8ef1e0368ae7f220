package kv

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"tokend/kv/internal/badgerdb"
	"tokend/kv/internal/index"
)

// Store is a token store that this process holds open. Open makes one.
type Store struct {
	db     *badgerdb.DB
	vault  vault
	index  *index.Index
	census *census
	writer *writer
	prefix string
	now    func() time.Time
	log    *slog.Logger
	filled chan struct{} // closed when fill has ended

	// committer makes changes durable. It is the writer: this node decides by itself.
	committer committer

	misses atomic.Uint64 // of the index

	rekeying   sync.Mutex
	backups    sync.Mutex   // while one is noted
	lastBackup atomic.Int64 // Unix milliseconds; 0: never
	oldValues  costCache[OldValues]
	expiring   costCache[[]Due]

	// users counts the operations under way, so that Close can wait for them.
	mu     sync.Mutex
	closed atomic.Bool // set under mu
	users  sync.WaitGroup
}

// Open opens a store, or makes one where the folder is empty or missing. It reads all of it
// once, to find damage. It fails with ErrLocked, ErrWrongKey, ErrNewerSchema, ErrCorrupt or
// ErrFull, or with what the file system said.
func Open(o Options) (*Store, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	db, err := badgerdb.Open(o.database(), badgerdb.Serve)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", o.Dir, err)
	}
	s, err := open(db, o)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", o.Dir, err), db.CloseAfter(err))
	}
	return s, nil
}

func open(db *badgerdb.DB, o Options) (*Store, error) {
	vault, err := unlock(db, o)
	if err != nil {
		return nil, err
	}
	s := &Store{
		db:        db,
		vault:     vault,
		index:     index.New(o.MaxIndexed),
		census:    newCensus(),
		prefix:    o.TokenPrefix,
		now:       o.Now,
		log:       o.Log,
		filled:    make(chan struct{}),
		oldValues: costCache[OldValues]{now: o.Now},
		expiring:  costCache[[]Due]{now: o.Now},
	}
	if err := s.recallBackup(); err != nil {
		return nil, err
	}
	snapshot := db.View()
	s.writer = (&writer{db: db, vault: vault, index: s.index, census: s.census, onCommit: o.OnCommit, patience: o.Patience, log: o.Log}).start()
	s.committer = s.writer
	s.users.Add(2)
	go s.fill()
	go func() {
		defer s.users.Done()
		defer snapshot.Close()
		if err := s.countAll(snapshot); err != nil && !errors.Is(err, ErrClosed) {
			s.log.Error("cannot count the tokens", "err", err)
		}
	}()
	return s, nil
}

func (s *Store) countAll(snapshot badgerdb.View) error {
	return snapshot.Guard(func() error { return s.census.count(snapshot, &s.closed) })
}

// Close waits for the operations under way and closes the store. Operations
// that come later, and a second Close, get ErrClosed. An error means that the
// process should end: what was acknowledged is in the synced log, and the next
// Open finds it there.
func (s *Store) Close() error {
	s.mu.Lock()
	closed := s.closed.Swap(true)
	s.mu.Unlock()
	if closed {
		return ErrClosed
	}
	s.users.Wait()
	wait := 30 * time.Second
	if s.db.HasFailed() {
		wait = time.Second
	}
	err := s.writer.stop(wait)
	if err == nil {
		err = s.db.Close(wait)
	}
	if err != nil {
		return fmt.Errorf("close the store: %w", err)
	}
	return nil
}

// acquire begins an operation; it ends with s.users.Done.
func (s *Store) acquire() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.Load() {
		return ErrClosed
	}
	s.users.Add(1)
	return nil
}

// Get is the token with a name. It fails with ErrNotFound.
func (s *Store) Get(name string) (token Token, err error) {
	err = s.operate(func() error {
		r, err := s.used(name)
		token = r.Token
		return err
	})
	return token, err
}

// used is the token with a name, and when it was last used, each in its latest
// state.
func (s *Store) used(name string) (record, error) {
	r, err := s.record(name)
	if err != nil {
		return record{}, err
	}
	err = addUses(&r, s.index, s.uses)
	return r, err
}

// Value is the value of the token with a name. It fails with ErrNotFound.
func (s *Store) Value(name string) (value Value, err error) {
	err = s.operate(func() error {
		r, err := s.record(name)
		value = r.value
		return err
	})
	return value, err
}

func (s *Store) record(name string) (r record, err error) {
	err = s.read(func(view view) error {
		r, err = view.record(name)
		return err
	})
	return r, err
}

// Writable is nil while changes are taken. Else it says why not: ErrFull while the disk lacks
// room for them, ErrStalled while it does not answer, ErrUnavailable after a failed commit.
func (s *Store) Writable() error { return s.db.Writable() }

// Ping reads from the database what every store has, to show that it can. A read waits for
// the commit under way; after a second of that Ping is content, since Writable tells of it
// and Verify does not wait.
func (s *Store) Ping(ctx context.Context) error {
	const wait = time.Second
	if s.db.HasWaited(wait) {
		return nil
	}
	if err := s.acquire(); err != nil {
		return err
	}
	answer := make(chan error, 1)
	go func() {
		defer s.users.Done()
		answer <- s.read(func(view view) error {
			_, err := view.get([]byte(metaSchema))
			return err
		})
	}()
	for {
		select {
		case err := <-answer:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
			if s.db.HasWaited(wait) {
				return nil
			}
		}
	}
}

// operate keeps the store open for an operation.
func (s *Store) operate(operation func() error) error {
	if err := s.acquire(); err != nil {
		return err
	}
	defer s.users.Done()
	return operation()
}

// read reads the latest state. The store must be kept open.
func (s *Store) read(read func(view) error) error {
	return s.db.Read(func(v badgerdb.View) error { return read(view{v, s.vault, s.index}) })
}
