package cli

// Relative is a moment as people say it.
var Relative = relative

// Address is the best of a server's addresses.
var Address = address
