package kv

import (
	"crypto/hmac"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/dgraph-io/badger/v4"
)

// Restore makes a store of a backup, in a folder that is missing or empty. One of
// Options.MasterKeys must open it; the first seals the store. Every record's seal is
// checked, and the index is made anew. Nothing is at Options.Dir unless all of the
// backup was good: until then the store is beside it, in a folder of that name with
// ".restoring" behind, where one that was broken off is cleared away by the next.
// It fails with ErrNotEmpty, ErrBackup, ErrWrongKey or ErrNewerSchema.
func Restore(r io.Reader, o Options, progress Progress) (BackupInfo, error) {
	if err := o.complete(); err != nil {
		return BackupInfo{}, err
	}
	if err := isEmptyFolder(o.Dir); err != nil {
		return BackupInfo{}, err
	}
	b, err := newBackupReader(r, progress)
	if err != nil {
		return BackupInfo{}, err
	}
	dataKey, _, err := unwrap(b.Key, o.MasterKeys)
	if err != nil {
		if damage := b.check(); damage != nil { // be it in the sealed key
			return BackupInfo{}, damage
		}
		return BackupInfo{}, fmt.Errorf("the backup: %w", err)
	}
	defer clear(dataKey)
	target := o.Dir
	o.Dir = target + ".restoring"
	if err := os.RemoveAll(o.Dir); err != nil {
		return BackupInfo{}, err
	}
	if err := makeFolder(o.Dir); err != nil {
		return BackupInfo{}, err
	}
	if err := restoreInto(o, b, dataKey); err != nil {
		return BackupInfo{}, errors.Join(err, os.RemoveAll(o.Dir))
	}
	if err := os.Remove(target); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return BackupInfo{}, err
	}
	if err := os.Rename(o.Dir, target); err != nil {
		return BackupInfo{}, err
	}
	return b.info(), SyncFolder(filepath.Dir(target))
}

func isEmptyFolder(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && len(entries) > 0 {
		err = fmt.Errorf("%s: %w", dir, ErrNotEmpty)
	}
	return err
}

// restoreInto fills an empty folder with a store, durably.
func restoreInto(o Options, b *backupReader, dataKey []byte) error {
	// Nothing relies on the log until all is there.
	db, err := badger.Open(badgerOptions(o).WithSyncWrites(false))
	if err != nil {
		return err
	}
	err = fillFrom(db, b, newVault(dataKey))
	if err == nil {
		err = writeMeta(db, b.Schema, o.MasterKeys[0], dataKey)
	}
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	if err := markClosed(o.Dir); err != nil {
		return err
	}
	return syncFiles(o.Dir)
}

func fillFrom(db *badger.DB, b *backupReader, v *vault) error {
	batch := db.NewWriteBatch()
	defer batch.Cancel()
	for entry, err := range b.entries() {
		if err != nil {
			return err
		}
		if err := restoreEntry(batch, entry, v); err != nil {
			return err
		}
	}
	if !hmac.Equal(b.end.MAC, v.backupMAC(b.end)) {
		return fmt.Errorf("%w: it was changed by somebody without the key", ErrBackup)
	}
	taken := binary.BigEndian.AppendUint64(nil, uint64(b.Taken)) //nolint:gosec // as it was written
	return errors.Join(batch.Set([]byte(metaBackup), taken), batch.Flush())
}

func restoreEntry(batch *badger.WriteBatch, entry backupEntry, v *vault) error {
	name, isRecord := strings.CutPrefix(string(entry.Key), recordPrefix)
	if !isRecord {
		if _, err := decodeUses(entry.Value); err != nil {
			return fmt.Errorf("%w: last uses are not readable", ErrBackup)
		}
		return batch.Set(entry.Key, entry.Value)
	}
	r, err := v.open(name, entry.Value)
	if err != nil {
		return fmt.Errorf("%w: the token %q does not match its seal", ErrBackup, name)
	}
	r.sealed = entry.Value
	for _, w := range enter(change{after: &r}) {
		if err := batch.Set(w.key, w.value); err != nil {
			return err
		}
	}
	return nil
}

// syncFiles makes all files of a folder, and the folder, durable.
func syncFiles(dir string) error {
	err := eachFile(dir, func(path string, _ fs.FileInfo) error {
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		return errors.Join(file.Sync(), file.Close())
	})
	return errors.Join(err, SyncFolder(dir))
}
