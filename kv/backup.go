package kv

import (
	"io"
	"time"

	"tokend/kv/backup"
)

// BackupInfo is what a backup says of itself.
type BackupInfo = backup.Info

// Progress is told of every token that is done, and about how many there will be, 0 where
// nobody knows. Its error ends what is under way.
type Progress = backup.Progress

// Backup writes the snapshot as a backup. Values are sealed in it as they are in the store.
// It checks every record's seal, since a backup is of no use if it cannot be restored, and
// fails with ErrCorrupt, or with what the writer said. Last uses are those on disk, up to
// 5 s old. It may be called more than once, and gives the same bytes.
func (s *Snapshot) Backup(w io.Writer, taken time.Time) error {
	return s.view.Guard(func() error { return s.view.backup(w, taken, s.about) })
}

// backup writes a backup. The number of tokens is an estimate, for whoever shows progress.
func (v view) backup(w io.Writer, taken time.Time, about int) error {
	head, err := v.head()
	if err != nil {
		return err
	}
	out, err := backup.NewWriter(w, backup.Head{Schema: head.schema, Taken: taken, About: about, Key: head.wrapped})
	if err != nil {
		return err
	}
	for entry, err := range v.Entries(recordPrefix, nil) {
		if err == nil {
			_, err = v.vault.open(nameOf(entry.Key), entry.Value)
		}
		if err == nil {
			err = out.Write(entry.Key, entry.Value)
		}
		if err != nil {
			return err
		}
	}
	for entry, err := range v.Entries(usesPrefix, nil) {
		if err == nil {
			err = out.Write(entry.Key, entry.Value)
		}
		if err != nil {
			return err
		}
	}
	return out.Close(v.vault.BackupMAC)
}
