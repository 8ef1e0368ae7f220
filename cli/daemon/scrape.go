package daemon

import (
	"time"

	"tokend/kv"
	"tokend/metrics"
)

// state is how the service is, for a scrape.
func (s *service) state(store *kv.Store) (state metrics.Snapshot) {
	state.Now = time.Now()
	state.Ready = s.server.IsReady()
	state.CertificateExpiry = s.certificates.expiry()

	census, known := store.Census(metrics.Within...)
	tokens := &state.Tokens
	tokens.Known = known
	tokens.Active, tokens.Inactive, tokens.Expired, tokens.Expiring = census.Active, census.Inactive, census.Expired, census.Expiring
	old, known := store.OldValues()
	o := &state.OldValues
	o.Known, o.Unused, o.Used, o.Ending = known, old.Unused, old.Used, old.Ending
	if s.current().Metrics.TokenNames {
		state.ExpiringNext = dueOf(store.ExpiringNext())
		state.OldValuesInUse = dueOf(old.InUse)
	}

	state.Store.Writable = store.Writable() == nil
	state.Store.IndexMisses = store.IndexMisses()
	state.Store.LastBackup = store.LastBackup()
	free, reserve, err := store.Room()
	state.Store.Reserve = reserve
	if err == nil {
		state.Store.Free = &free
	}
	if usage, err := store.Usage(); err == nil {
		state.Store.Bytes = map[string]uint64{
			"tables": usage.Tables, "log": usage.Log, "value_log": usage.ValueLog, "other": usage.Other,
		}
	}
	levels, _ := store.Levels() // none, where it is closed
	for _, level := range levels {
		state.Store.Tables = append(state.Store.Tables, level.Tables)
		state.Store.Compaction = max(state.Store.Compaction, level.Due)
	}
	return state
}

func dueOf(due []kv.Due) (all []metrics.Due) {
	for _, d := range due {
		all = append(all, metrics.Due(d))
	}
	return all
}
