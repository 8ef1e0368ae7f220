package cli

// Relative is a moment as people say it.
var Relative = relative

// Reachable is the best of a server's addresses.
var Reachable = reachable
