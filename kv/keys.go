package kv

import (
	"encoding/binary"
	"strings"

	"tokend/kv/backup"
	"tokend/kv/internal/index"
	"tokend/kv/internal/seal"
)

// The key space. One letter tells the kinds apart; DESIGN.md describes the
// values.
const (
	metaSchema  = "m/schema" // the version of all this
	metaDataKey = "m/key"    // the data key, sealed by the master key
	metaBackup  = "m/backup" // when the last backup was taken

	metaUpgrading = "m/upgrading" // while it is: the way back has been written

	recordPrefix = backup.RecordPrefix // + name: the record
	indexPrefix  = "h/"                // + lookup hash of a value: the name
	usesPrefix   = backup.UsesPrefix   // + number of a shard: the last uses of its tokens
)

func recordKey(name string) []byte { return []byte(recordPrefix + name) }

func indexKey(hash seal.Hash) []byte { return append([]byte(indexPrefix), hash[:]...) }

func usesKey(shard int) []byte {
	return binary.BigEndian.AppendUint16([]byte(usesPrefix), uint16(shard)) //nolint:gosec // below index.Shards
}

func nameOf(recordKey []byte) string { return strings.TrimPrefix(string(recordKey), recordPrefix) }

// shardOf is the reverse of usesKey. What is no such key is beyond the last shard.
func shardOf(usesKey []byte) int {
	number := usesKey[len(usesPrefix):]
	if len(number) != 2 {
		return index.Shards
	}
	return min(int(binary.BigEndian.Uint16(number)), index.Shards)
}
