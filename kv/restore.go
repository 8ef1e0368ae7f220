package kv

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"tokend/internal/durable"
	"tokend/kv/backup"
	"tokend/kv/internal/badgerdb"
	"tokend/kv/internal/seal"
)

// Restore makes a store of a backup, in a folder that is missing or empty. One of
// Options.MasterKeys must open it; the first seals the store. It checks every record's seal
// and rebuilds the index. Until all of the backup was good the store is beside its place,
// in a folder with the suffix ".restoring"; the next Restore removes one that was broken off.
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
	b, err := openBackup(r, progress)
	if err != nil {
		return BackupInfo{}, err
	}
	dataKey, _, err := unwrap(b.Key, o.MasterKeys)
	if err != nil {
		if damage := b.Check(); damage != nil { // maybe in the sealed key
			return BackupInfo{}, damage
		}
		return BackupInfo{}, errBackupKey
	}
	defer clear(dataKey)
	o.Dir = target + ".restoring"
	o.MinFreeBytes = cmp.Or(o.MinFreeBytes, DefaultMinFreeBytes)
	if err := os.RemoveAll(o.Dir); err != nil {
		return BackupInfo{}, err
	}
	err = restoreInto(o, b, dataKey)
	if err == nil {
		err = unix.Rename(o.Dir, target) // in the place of an empty folder too
	}
	if err != nil {
		return BackupInfo{}, errors.Join(err, os.RemoveAll(o.Dir))
	}
	return b.Info(), durable.SyncDir(filepath.Dir(target))
}

// errBackupKey is an ErrWrongKey.
var errBackupKey error = backupKeyError{}

type backupKeyError struct{}

func (backupKeyError) Error() string        { return "none of the given master keys decrypts this backup" }
func (backupKeyError) Is(target error) bool { return target == ErrWrongKey }

func openBackup(r io.Reader, progress Progress) (*backup.Reader, error) {
	b, err := backup.NewReader(r, progress)
	switch {
	case errors.Is(err, backup.ErrNewer), err == nil && b.Schema > schemaVersion():
		return nil, fmt.Errorf("the backup: %w", ErrNewerSchema)
	case err == nil && !seal.IsWrapped(b.Key):
		return nil, fmt.Errorf("%w: its head is not readable", ErrBackup)
	}
	return b, err
}

// emptyPlace is where a folder is missing or empty, following a link if there is one. It is
// renamed to, which a mount point cannot be.
func emptyPlace(dir string) (string, error) {
	place, err := durable.Target(dir)
	if err != nil {
		return "", err
	}
	entries, err := os.ReadDir(place)
	if errors.Is(err, fs.ErrNotExist) {
		return place, nil
	}
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
		return "", fmt.Errorf("%s is a mount point, which a store cannot replace; mount the folder above it", dir)
	}
	return place, nil
}

// restoreInto fills a new folder with a store, durably.
func restoreInto(o Options, b *backup.Reader, dataKey []byte) error {
	db, err := badgerdb.Open(o.database(), badgerdb.Fill) // nothing relies on it until all is there
	if err != nil {
		return err
	}
	err = fillFrom(db, b, vault{seal.NewVault(dataKey)})
	if err == nil {
		err = writeAtStart(db, headWrites(b.Schema, o.MasterKeys[0], dataKey)...)
	}
	if err != nil {
		return errors.Join(err, db.CloseAfter(err))
	}
	return db.Close(0)
}

func fillFrom(db *badgerdb.DB, b *backup.Reader, v vault) error {
	bulk := db.NewBulk()
	defer bulk.Discard()
	for entry, err := range b.Entries() {
		if err == nil {
			err = restoreEntry(bulk, entry, v)
		}
		if err != nil {
			return err
		}
	}
	if !b.IsAuthentic(v.BackupMAC) {
		return fmt.Errorf("%w: it was changed by somebody without the key", ErrBackup)
	}
	taken := binary.BigEndian.AppendUint64(nil, uint64(b.Taken.UnixMilli()))
	return errors.Join(bulk.Add(badgerdb.Write{Key: []byte(metaBackup), Value: taken}), bulk.Flush())
}

func restoreEntry(bulk *badgerdb.Bulk, entry backup.Entry, v vault) error {
	name, isRecord := strings.CutPrefix(string(entry.Key), recordPrefix)
	if !isRecord {
		if _, err := decodeUses(entry.Value); err != nil {
			return fmt.Errorf("%w: last uses are not readable", ErrBackup)
		}
		return bulk.Add(badgerdb.Write{Key: entry.Key, Value: entry.Value})
	}
	r, err := v.open(name, entry.Value)
	if err != nil {
		return fmt.Errorf("%w: the token %q does not match its seal", ErrBackup, name)
	}
	r.sealed = entry.Value
	return bulk.Add(writesFor(change{after: &r})...)
}
