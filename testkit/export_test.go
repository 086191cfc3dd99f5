package testkit

// Find finds the program anew.
var Find = find
