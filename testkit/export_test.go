package testkit

// Find finds the program without the cache of [Program].
var Find = find
