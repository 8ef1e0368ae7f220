package kv

import (
	"cmp"
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
	"golang.org/x/sys/unix"
)

// Restore makes a store of a backup, in a folder that is missing or empty. One of
// Options.MasterKeys must open it; the first seals the store. Every record's seal is
// checked, and the index is made anew. Nothing is at Options.Dir unless all of the
// backup was good: until then the store is beside it, in a folder of that name with
// ".restoring" behind, where one that was broken off is cleared away by the next.
// It fails with ErrNotEmpty, ErrBackup, ErrWrongKey, ErrNewerSchema or ErrFull, which it
// does with less room than Options.MinFreeBytes, or DefaultMinFreeBytes where that is 0.
func Restore(r io.Reader, o Options, progress Progress) (BackupInfo, error) {
	if err := o.complete(); err != nil {
		return BackupInfo{}, err
	}
	target, err := emptyPlace(o.Dir)
	if err != nil {
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
	o.Dir = target + ".restoring"
	if err := os.RemoveAll(o.Dir); err != nil {
		return BackupInfo{}, err
	}
	if err := makeFolder(o.Dir); err != nil {
		return BackupInfo{}, err
	}
	err = guard(func() error { return restoreInto(o, b, dataKey) })
	if err == nil {
		err = unix.Rename(o.Dir, target) // in the place of an empty folder too
	}
	if err != nil {
		return BackupInfo{}, errors.Join(err, os.RemoveAll(o.Dir))
	}
	return b.info(), SyncFolder(filepath.Dir(target))
}

// emptyPlace is where a folder is missing or empty, behind a link if there is one. It is
// renamed to, which a mount point cannot be.
func emptyPlace(dir string) (string, error) {
	place, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(dir); err == nil {
			return "", fmt.Errorf("%s is a link that leads nowhere", dir)
		}
		return dir, nil
	}
	if err != nil {
		return "", err
	}
	entries, err := os.ReadDir(place)
	if err == nil && len(entries) > 0 {
		err = fmt.Errorf("%s: %w", dir, ErrNotEmpty)
	}
	if err != nil {
		return "", err
	}
	var own, parent unix.Stat_t
	if err := errors.Join(unix.Stat(place, &own), unix.Stat(filepath.Dir(place), &parent)); err != nil {
		return "", err
	}
	if own.Dev != parent.Dev {
		return "", fmt.Errorf("%s is a mount point, which a store cannot be put in the place of; mount the folder above it", dir)
	}
	return place, nil
}

// restoreInto fills an empty folder with a store, durably.
func restoreInto(o Options, b *backupReader, dataKey []byte) error {
	reserve := reserve{dir: o.Dir, min: cmp.Or(o.MinFreeBytes, DefaultMinFreeBytes), free: o.FreeBytes}
	if err := reserve.check(); err != nil {
		return err
	}
	// Nothing relies on the log until all is there.
	list, err := watchTables(o.Dir, o.Log)
	if err != nil {
		return err
	}
	db, err := badger.Open(badgerOptions(o).WithSyncWrites(false))
	if err != nil {
		list.forget()
		return err
	}
	err = fillFrom(db, b, newVault(dataKey), reserve)
	if err == nil {
		err = writeMeta(db, b.Schema, o.MasterKeys[0], dataKey)
	}
	if err := errors.Join(err, list.close(db)); err != nil {
		return err
	}
	if err := markClosed(o.Dir); err != nil {
		return err
	}
	return syncFiles(o.Dir)
}

func fillFrom(db *badger.DB, b *backupReader, v *vault, reserve reserve) error {
	batch := db.NewWriteBatch()
	defer batch.Cancel()
	const now = 1000 // and then
	for entry, err := range b.entries() {
		if err == nil && b.tokens%now == 0 {
			err = reserve.check()
		}
		if err != nil {
			return err
		}
		if err := restoreEntry(batch, entry, v); err != nil {
			return err
		}
	}
	if !hmac.Equal(b.end.MAC, v.backupMAC(b.tokens, b.content)) {
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
	err := eachFile(dir, func(path string, _ fs.FileInfo) error { return syncFile(path) })
	return errors.Join(err, SyncFolder(dir))
}

func syncFile(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}
