package kv

import "strings"

// The key space. One letter tells the kinds apart; DESIGN.md describes the
// values.
const (
	metaSchema  = "m/schema" // the version of all this
	metaDataKey = "m/key"    // the data key, sealed by the master key

	recordPrefix = "t/" // + name: the record
	indexPrefix  = "h/" // + lookup hash of a value: the name
)

func recordKey(name string) []byte { return []byte(recordPrefix + name) }

func indexKey(hash lookupHash) []byte { return append([]byte(indexPrefix), hash[:]...) }

func nameOf(recordKey []byte) string { return strings.TrimPrefix(string(recordKey), recordPrefix) }
