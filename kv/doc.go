// Package kv keeps bearer tokens in an embedded Badger database.
//
// # What it promises
//
//   - A change that returned without an error is on disk: it has been synced,
//     and it is whole. Every read that starts afterwards sees it.
//   - Every verification that starts afterwards sees it too: a token that was
//     deleted or turned off is refused from then on. It takes no lock, and reads memory
//     unless the index does not hold all tokens.
//   - A change that returned an error changed nothing, with one exception:
//     after [ErrUnavailable] its outcome is unknown until the store has been
//     opened again.
//   - Two changes never mix. One goroutine applies them one after another, so
//     there are no conflicts to retry.
//   - A snapshot shows one moment, however long it is read.
//   - The folder alone gives nobody a token. Values are sealed under a key that
//     is not in it, and the rest of a record is authenticated with its value, so
//     a record that was edited on disk is an error ([ErrCorrupt]), not a token
//     with other rights.
//
// # Concurrency
//
// All methods of [Store] are safe for concurrent use. [Store.Close] waits for
// the operations under way; those that come later get [ErrClosed].
//
// # Caveats
//
// One process at a time holds a store ([ErrLocked]). Whoever can write the
// folder can remove records, put back an older copy of one, or change when it was
// last used; only a copy kept elsewhere shows that. A crash may lose the last five
// seconds of last uses. A table that rots while the process runs is found at the
// next Open. Times are whole milliseconds; finer parts are cut off.
//
// DESIGN.md says what is on disk and why.
package kv
