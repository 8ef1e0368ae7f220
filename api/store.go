package api

import (
	"context"
	"time"

	"tokend/kv"
)

// Store is what the API needs of a token store. *kv.Store is one. Errors are those of package
// kv, which the table in errors.go turns into answers.
type Store interface {
	// Verify says what somebody who presents a value may do, and notes that it was used.
	// Peek only says it. Both answer from memory, but for tokens that it does not hold.
	Verify(presented []byte) (kv.Grant, error)
	Peek(presented []byte) (kv.Grant, error)

	Get(name string) (kv.Token, error)
	Value(name string) (kv.Value, error)
	Snapshot() (*kv.Snapshot, error)

	// Changes return when they are durable, or when the context ends.
	Create(ctx context.Context, spec kv.Spec) (kv.Token, kv.Value, error)
	CreateAll(ctx context.Context, tokens []kv.NewToken) ([]kv.Created, error)
	Replace(ctx context.Context, spec kv.Spec) (kv.Token, error)
	Update(ctx context.Context, name string, patch kv.Patch) (kv.Token, error)
	Rotate(ctx context.Context, name string, grace time.Duration) (kv.Token, kv.Value, error)
	Delete(ctx context.Context, name string) (kv.Token, error)
	Bulk(ctx context.Context, bulk kv.Bulk) (kv.BulkResult, error)
	NoteBackup(ctx context.Context, at time.Time) error

	Ping(ctx context.Context) error
	Writable() error
}
