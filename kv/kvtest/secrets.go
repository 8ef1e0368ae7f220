package kvtest

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"tokend/kv"
)

// shaped is what every value looks like that we make. Its checksum tells it from what
// only looks so.
var shaped = regexp.MustCompile(`[a-z0-9]{1,16}_[0-9A-Za-z]{49}`)

// ExpectNoSecret fails a test where there is a secret in what must hold none: a value of
// ours, whoever made it, or a secret that is known, as it is or encoded.
func ExpectNoSecret(t testing.TB, what string, content []byte, known ...string) {
	t.Helper()
	for _, found := range shaped.FindAll(content, -1) {
		if value, err := kv.ParseValue(string(found)); err == nil && !value.HasTypo() {
			t.Errorf("%s holds a value: %.12s…", what, found)
		}
	}
	for _, secret := range known {
		for how, text := range map[string]string{
			"": secret, " in base64": base64.StdEncoding.EncodeToString([]byte(secret)), " in hexadecimal": hex.EncodeToString([]byte(secret)),
		} {
			if secret != "" && bytes.Contains(content, []byte(text)) {
				t.Errorf("%s holds a secret%s: %.6q…", what, how, secret)
			}
		}
	}
}

// ExpectNoSecretIn is ExpectNoSecret for all files below a folder.
func ExpectNoSecretIn(t testing.TB, folder string, known ...string) {
	t.Helper()
	files := os.DirFS(folder)
	err := fs.WalkDir(files, ".", func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // the folder, or what the store has just deleted
			return nil
		}
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		content, err := fs.ReadFile(files, path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			ExpectNoSecret(t, filepath.Join(folder, path), content, known...)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// secrets are the master keys of a store, raw, and some of the values that are in it.
func (s *Store) secrets() (known []string) {
	for _, key := range s.Options.MasterKeys {
		if raw, err := base64.StdEncoding.DecodeString(key.Encode()); err == nil {
			known = append(known, string(raw))
		}
	}
	snapshot, err := s.Snapshot()
	if err != nil {
		return known
	}
	defer snapshot.Close()
	const enough = 20 // of those that have no shape; those that have are found anyway
	for token, err := range snapshot.WithValues() {
		if err != nil || len(known) > enough {
			break
		}
		known = append(known, token.Value.Reveal())
	}
	return known
}
