package testkit

import (
	"encoding/json"
	"fmt"
	"os"
	"time"
)

// Option is an option of a room, for [Start].
type Option interface {
	room(settings map[string]any) error // adds to the body of PUT /rooms/NAME
}

// ProcessOption is an option of a process, for [StartProcess].
type ProcessOption interface {
	process(args []string) []string // adds to the arguments
}

// SeedOption says what a server holds at the start. It is an option of [Start] and of
// [StartProcess].
type SeedOption struct{ file string }

// WithSeed starts with a seed file instead of the built-in seed.
func WithSeed(file string) SeedOption { return SeedOption{file} }

// WithoutSeed starts with an empty room.
func WithoutSeed() SeedOption { return SeedOption{"none"} }

func (o SeedOption) room(settings map[string]any) error {
	if o.file == "none" {
		settings["seed"] = o.file
		return nil
	}
	data, err := os.ReadFile(o.file)
	if err != nil {
		return fmt.Errorf("reading the seed: %w", err)
	}
	if !json.Valid(data) {
		return fmt.Errorf("the seed %s is not JSON", o.file)
	}
	settings["seed"] = json.RawMessage(data)
	return nil
}

func (o SeedOption) process(args []string) []string { return append(args, "--seed", o.file) }

type randomOption uint64

// WithRandom seeds the random source of the room, so that ids and tokens repeat.
func WithRandom(seed uint64) Option { return randomOption(seed) }

func (o randomOption) room(settings map[string]any) error {
	settings["random"] = uint64(o)
	return nil
}

// GeneratorsOption says that generators start. It is an option of [Start] and of
// [StartProcess].
type GeneratorsOption struct{}

// WithGenerators starts the generators of the seed, as the program does by default. Without
// it, they are there but do not run, so that only the test makes events.
func WithGenerators() GeneratorsOption { return GeneratorsOption{} }

func (GeneratorsOption) room(settings map[string]any) error {
	settings["generators"] = "on"
	return nil
}

func (GeneratorsOption) process(args []string) []string { return append(args, "--generators", "on") }

type argsOption []string

// WithArgs adds arguments of the program, such as "--strict".
func WithArgs(args ...string) ProcessOption { return argsOption(args) }

// WithTokenTTL sets the lifetime of binding tokens.
func WithTokenTTL(d time.Duration) ProcessOption { return WithArgs("--token-ttl", d.String()) }

func (o argsOption) process(args []string) []string { return append(args, o...) }
