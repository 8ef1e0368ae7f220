package kv

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// Store is a token store that this process holds open. Open makes one.
type Store struct {
	db     *badger.DB
	list   *tableList
	vault  *vault
	index  *index
	census *census
	writer *writer
	prefix string
	now    func() time.Time
	log    *slog.Logger
	filled chan struct{} // closed when fill has ended
	misses atomic.Uint64 // of the index

	rekeying   sync.Mutex
	backups    sync.Mutex   // while one is noted
	lastBackup atomic.Int64 // Unix milliseconds; 0: never
	oldValues  paced[OldValues]
	expiring   paced[[]Due]

	// users counts the operations under way, so that Close can wait for them.
	mu     sync.Mutex
	closed atomic.Bool // set under mu
	users  sync.WaitGroup
}

// Open opens a store, or makes one where the folder is empty or missing. It
// reads all of it once, to find damage. It fails with ErrLocked, ErrWrongKey,
// ErrNewerSchema, ErrCorrupt or ErrFull, or with what the file system said.
func Open(o Options) (*Store, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	reserve := reserve{dir: o.Dir, min: o.MinFreeBytes, free: o.FreeBytes}
	if err := makeFolder(o.Dir); err != nil {
		return nil, err
	}
	db, list, err := openDatabase(o, reserve)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", o.Dir, err)
	}
	giveUp := func(err error) error {
		return errors.Join(fmt.Errorf("open %s: %w", o.Dir, err), closeAgain(db, list, err))
	}
	vault, err := unlock(db, o)
	if err != nil {
		return nil, giveUp(err)
	}
	s := &Store{
		db:     db,
		list:   list,
		vault:  vault,
		index:  newIndex(o.MaxIndexed),
		census: newCensus(),
		prefix: o.TokenPrefix,
		now:    o.Now,
		log:    o.Log,
		filled: make(chan struct{}),
	}
	if err := s.recallBackup(); err != nil {
		return nil, giveUp(err)
	}
	folder, err := openFolder(o.Dir)
	if err != nil {
		return nil, giveUp(err)
	}
	snapshot := db.NewTransaction(false)
	s.writer = (&writer{
		db: db, vault: vault, index: s.index, census: s.census, reserve: reserve, folder: folder,
		onCommit: o.OnCommit, log: o.Log,
	}).start()
	s.users.Add(2)
	go s.fill()
	go func() {
		defer s.users.Done()
		defer snapshot.Discard()
		if err := s.countAll(snapshot); err != nil && !errors.Is(err, ErrClosed) {
			s.log.Error("the tokens could not be counted", "err", err)
		}
	}()
	return s, nil
}

// openDatabase opens Badger once nothing is against that. Its list of tables closes it.
func openDatabase(o Options, reserve reserve) (*badger.DB, *tableList, error) {
	for _, prepare := range []func() error{
		func() error { return clearFolder(o.Dir) },
		reserve.checkMemory,
		func() error { return undoLastChange(o.Dir, o.Log) },
		func() error { return inspectFiles(o.Dir) },
		func() error { return unmarkClosed(o.Dir) },
	} {
		if err := prepare(); err != nil {
			return nil, nil, err
		}
	}
	list, err := watchTables(o.Dir, o.Log)
	if err != nil {
		return nil, nil, err
	}
	db, err := badger.Open(badgerOptions(o))
	if err != nil {
		list.forget()
		err = damageUnlessSystem(err)
	}
	return db, list, err
}

// closeAgain closes what was opened in vain. Damage is not marked as what was closed.
func closeAgain(db *badger.DB, list *tableList, failure error) error {
	err := list.close(db)
	if err == nil && !errors.Is(failure, ErrCorrupt) {
		err = markClosed(list.dir)
	}
	return err
}

func (s *Store) countAll(snapshot *badger.Txn) error {
	return s.writer.guard(func() error { return s.census.count(snapshot, &s.closed) })
}

// inspectFiles finds what is wrong with the files, all of which it reads once, before
// Badger sees them.
func inspectFiles(dir string) error {
	if err := checkManifest(dir); err != nil {
		return err
	}
	_, err := checkClosed(dir)
	return errors.Join(err, verifyTables(dir), verifyLogs(dir))
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
	if s.writer.failed.Load() {
		wait = time.Second
	}
	err := s.writer.stop(wait)
	if err == nil {
		err = s.closeDatabase(wait)
	}
	if err != nil {
		return fmt.Errorf("close the store: %w", err)
	}
	return nil
}

// closeDatabase writes out Badger's memory. It leaves that to the next Open
// where the disk lacks the room, and bounds the time: Badger tries for as long
// as the disk refuses.
func (s *Store) closeDatabase(wait time.Duration) error {
	if err := s.writer.reserve.checkMemory(); err != nil {
		return fmt.Errorf("it is left as after a crash: %w", err)
	}
	closed := make(chan error, 1)
	go func() { closed <- s.list.close(s.db) }()
	select {
	case err := <-closed:
		if err == nil {
			err = markClosed(s.writer.reserve.dir)
		}
		return err
	case <-time.After(wait):
		return fmt.Errorf("not done after %v", wait)
	}
}

// enter begins an operation; it ends with s.users.Done.
func (s *Store) enter() error {
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
	err = s.index.addUses(&r, s.uses)
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

// Writable is nil while changes are taken, ErrFull while the disk lacks room
// for them, and ErrUnavailable after a failed commit.
func (s *Store) Writable() error { return s.writer.writable() }

// Ping reads from the database what every store has, to show that it can. A read waits for
// the commit under way, for which Ping does not wait long: Writable tells of that, and
// Verify does not wait.
func (s *Store) Ping() error {
	if s.writer.hasWaited(pingWait) {
		return nil
	}
	if err := s.enter(); err != nil {
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
		case <-time.After(pingWait):
			if s.writer.hasWaited(pingWait) {
				return nil
			}
		}
	}
}

const pingWait = time.Second

// operate keeps the store open for an operation.
func (s *Store) operate(operation func() error) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.users.Done()
	return operation()
}

// read reads the latest state. The store must be kept open.
func (s *Store) read(read func(view) error) error {
	return s.writer.guard(func() error {
		view := s.newView()
		defer view.txn.Discard()
		return read(view)
	})
}

func (s *Store) newView() view { return view{s.db.NewTransaction(false), s.vault, s.index} }
