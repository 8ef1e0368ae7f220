package kv

import (
	"errors"

	"tokend/kv/backup"
	"tokend/kv/internal/badgerdb"
)

// Errors about a token. What is returned names the token too: `a token named
// "x" exists`.
var (
	// ErrNotFound is returned where no token has the name, or no token the value.
	ErrNotFound = errors.New("does not exist")

	// ErrExists is returned by Create and CreateAll where a token has the name
	// already.
	ErrExists = errors.New("exists")

	// ErrValueTaken is returned by CreateAll for a value that another token has, or
	// had before its last rotation.
	ErrValueTaken = errors.New("has this value, or had it before its rotation")

	// ErrInvalidToken is returned by Verify where what was presented is not good:
	// unknown, expired, inactive or no value at all. Which of them its text does not
	// tell; see InvalidTokenError.
	ErrInvalidToken = errors.New("not a valid token")
)

// InvalidTokenError is ErrInvalidToken with the reason, which is only for the operator: whoever
// presents values must not learn which of them exist.
type InvalidTokenError struct{ Reason Reason }

func (e *InvalidTokenError) Error() string { return ErrInvalidToken.Error() }

func (e *InvalidTokenError) Unwrap() error { return ErrInvalidToken }

// Reason is why a value is not good.
type Reason int

// The reasons, of which the first that applies is given.
const (
	ReasonMalformed Reason = iota // it is no value at all
	ReasonUnknown                 // no token has it, not as the one before a rotation either
	ReasonInactive
	ReasonExpired // its token is, or its grace has ended
)

var (
	errMalformed = &InvalidTokenError{ReasonMalformed}
	errUnknown   = &InvalidTokenError{ReasonUnknown}
	errInactive  = &InvalidTokenError{ReasonInactive}
	errExpired   = &InvalidTokenError{ReasonExpired}
)

// InvalidError says which field breaks which rule. Nothing was changed.
type InvalidError struct {
	Field  string // "name", "expiration_date", "token", "grace_ms" or "prefix"
	Reason string // what is wrong and what would be right, without the field's name
	isPast bool
}

func (e *InvalidError) Error() string { return e.Field + " " + e.Reason }

// Is lets the InvalidError of an expiry that has passed be ErrPast.
func (e *InvalidError) Is(target error) bool { return target == ErrPast && e.isPast }

// ErrPast is what an InvalidError is where an expiry has passed.
var ErrPast = errors.New("is not in the future")

// Errors about the store.
var (
	// ErrClosed is returned by every operation after Close.
	ErrClosed = errors.New("the store is closed")

	// ErrBusy is returned by a change when too many others are waiting. Nothing
	// was changed; a later try may succeed.
	ErrBusy = errors.New("too many changes are waiting")

	// ErrFull is returned by a change when the disk has less room than
	// Options.MinFreeBytes, or takes nothing more. Nothing was changed; it heals when room
	// is made.
	ErrFull = badgerdb.ErrFull

	// ErrTooLarge is returned by a change that fits no transaction. Nothing was
	// changed.
	ErrTooLarge = errors.New("the change is too large for one transaction")

	// ErrUnavailable is returned by the changes whose commit failed, whose outcome is
	// unknown, and by all later ones, which changed nothing. Only opening the store again
	// ends that: entries reach Badger's memtable before its WAL is synced, so what memory
	// shows may not be what the disk holds. Reads go on, unless the failure took Badger's
	// memtable with it; then they return it too. A change also gets it, and changes
	// nothing, while the disk is read-only, does not tell its free space or does not take
	// the WAL, and so does a read of what the disk does not give.
	ErrUnavailable = badgerdb.ErrUnavailable

	// ErrStalled is an ErrUnavailable: the disk does not answer. A change gets it that has
	// waited for Options.Patience, or whose context ended. It may still be made; that is
	// known when the disk answers, which ends it.
	ErrStalled = badgerdb.ErrStalled

	// ErrCorrupt is returned where a record, or what leads to it, is damaged or was changed
	// by something other than this package.
	ErrCorrupt = badgerdb.ErrCorrupt

	// ErrBackup is returned where a backup is none, or is not as it was written.
	ErrBackup = backup.ErrInvalid

	// ErrNotEmpty is returned by Restore where there is a store already.
	ErrNotEmpty = errors.New("there is a store already")

	// ErrLocked is returned by Open and Check when another process holds the store.
	ErrLocked = badgerdb.ErrLocked

	// ErrWrongKey is returned where none of the master keys opens the store, or the
	// backup.
	ErrWrongKey = errors.New("no master key opens this store")

	// ErrNewerSchema is returned for a store or a backup that a newer version wrote.
	ErrNewerSchema = errors.New("the store was written by a newer version")
)
