// Package topic compiles SubscriptionTopics. It decides whether a change fires a
// topic, which filters a subscription to it may use, and which resources its
// notifications include.
//
// The package decides and explains; it does not store or send. Criteria that cannot
// be evaluated do not fail the write: they do not fire, and the verdict says why
// (TOP-10).
package topic

import (
	"fmt"
	"slices"
	"strings"

	"signalfhir/internal/fhir"
	"signalfhir/internal/fhirpath"
	"signalfhir/internal/search"
	"signalfhir/internal/store"
)

// Topic is a compiled SubscriptionTopic. It is immutable once it is in a
// [Catalogue].
type Topic struct {
	scope    search.Scope
	topic    *fhir.Topic
	key      string
	triggers []trigger

	preferQuery bool // if a trigger has both kinds of criteria
	anyFilter   bool // allow filters that canFilterBy does not offer
}

// trigger is one compiled resourceTrigger.
type trigger struct {
	fhir.Trigger
	previous, current *search.Query // nil if absent
	path              *fhirpath.Expr
	lenient           *fhirpath.Expr // path with | read as or; nil if it does not apply (TOP-11)
}

// Option changes how a topic is compiled.
type Option func(*Topic)

// PreferQuery makes queryCriteria decide if a trigger has fhirPathCriteria too. The
// default is the other way round (TOP-8).
func PreferQuery() Option { return func(t *Topic) { t.preferQuery = true } }

// AnyFilter allows subscriptions to filter by every search parameter of a type, with
// every comparator and modifier, even if the topic does not offer it (FLT-4).
func AnyFilter() Option { return func(t *Topic) { t.anyFilter = true } }

// Compile compiles a topic that is evaluated in scope. It returns an issue for each
// problem. If one has the severity error, the topic must not be used.
func Compile(scope search.Scope, t *fhir.Topic, options ...Option) (*Topic, []fhir.Issue) {
	compiled := &Topic{scope: scope, topic: t}
	for _, option := range options {
		option(compiled)
	}
	var issues []fhir.Issue
	for _, source := range t.Triggers {
		one := trigger{Trigger: source}
		if source.FHIRPath != "" {
			options := fhirpath.Options{Variables: []string{"previous", "current"}}
			path, err := fhirpath.Compile(source.FHIRPath, options)
			if err != nil {
				issues = append(issues, broken(fhir.CodeValue, source.Expression+".fhirPathCriteria", err.Error()))
			} else if path.UnitesConditions() {
				options.UnionAsOr = true
				one.lenient, _ = fhirpath.Compile(source.FHIRPath, options) // stays nil if it does not compile
			}
			one.path = path
		}
		if q := source.Query; q != nil {
			parse := func(text, member string) *search.Query {
				if text == "" {
					return nil
				}
				query, refused := scope.Query(source.Resource, text)
				if refused != nil {
					issues = append(issues, broken(fhir.CodeOf(refused), source.Expression+".queryCriteria."+member, refused.Error()))
				} else if query.Empty() {
					return nil // "Encounter?" has no condition: treat it as absent (TOP-16)
				}
				return query
			}
			one.previous = parse(q.Previous, "previous")
			one.current = parse(q.Current, "current")
		}
		compiled.triggers = append(compiled.triggers, one)
	}
	return compiled, append(issues, compiled.unsupportedShapes()...)
}

func broken(code fhir.IssueCode, expression, text string) fhir.Issue {
	return fhir.Issue{Severity: "error", Code: code, Diagnostics: text, Expression: []string{expression}, Rule: true}
}

// Key returns the key of the topic in its catalogue.
func (t *Topic) Key() string { return t.key }

// URL returns the canonical URL of the topic, without its version.
func (t *Topic) URL() string { return t.topic.URL }

// Version returns the business version of the topic, or "" if it has none.
func (t *Topic) Version() string { return t.topic.Version }

// Title returns the title of the topic, or "" if it has none.
func (t *Topic) Title() string { return t.topic.Title }

// Status returns the publication status of the topic.
func (t *Topic) Status() string { return t.topic.Status }

// Triggers returns the number of resourceTriggers.
func (t *Topic) Triggers() int { return len(t.triggers) }

// Resources returns the types that the topic is about, those of resourceTriggers
// first.
func (t *Topic) Resources() []string {
	var types []string
	add := func(typ string) {
		if t.scope.Release.IsResourceType(typ) && !slices.Contains(types, typ) {
			types = append(types, typ)
		}
	}
	for _, one := range t.triggers {
		add(one.Resource)
	}
	for _, event := range t.topic.EventTriggers {
		add(event.Resource)
	}
	return types
}

// Verdict is the result of matching a change against a topic.
type Verdict struct {
	Fired   bool
	Trigger int   // index of the trigger that fired
	Late    error // why fhirPathCriteria were not evaluated, so that they do not fire; nil if they were
	Steps   []Step
}

// Step is one check of a trigger.
type Step struct {
	Trigger int    // index of the trigger; -1 for the whole topic
	Name    string // type, interaction or criteria
	Passed  bool
	Text    string // how it compared
}

// String returns the verdict in words.
func (v Verdict) String() string {
	var words []string
	for _, s := range v.Steps {
		if s.Trigger >= 0 {
			words = append(words, fmt.Sprintf("trigger %d: %s", s.Trigger, s.Text))
		} else {
			words = append(words, s.Text)
		}
	}
	return strings.Join(words, "; ")
}

// Match decides whether a change fires the topic. One trigger that fires is enough
// (TOP-5). The verdict has only the steps that did not pass. e evaluates the
// fhirPathCriteria, unless it has before.
func (t *Topic) Match(c *store.Change, e *Evaluation) Verdict { return t.decide(c, e, false) }

// Explain is like [Topic.Match], but the verdict has all steps.
func (t *Topic) Explain(c *store.Change, e *Evaluation) Verdict { return t.decide(c, e, true) }

func (t *Topic) decide(c *store.Change, e *Evaluation, explain bool) Verdict {
	v := Verdict{}
	for i := range t.triggers {
		rec := recorder{trigger: i, explain: explain, verdict: &v}
		if t.triggers[i].match(c, e, t.preferQuery, rec) {
			v.Fired, v.Trigger = true, i
			return v
		}
	}
	if len(t.triggers) == 0 {
		v.Steps = []Step{{Trigger: -1, Name: "type", Text: "the topic has no resourceTrigger; only /mock/trigger fires it"}}
	}
	return v
}

// recorder records the steps of one trigger.
type recorder struct {
	trigger int
	explain bool // record steps that passed too
	verdict *Verdict
}

// step records a step and returns passed. It calls text only if it records the step.
func (r recorder) step(name string, passed bool, text func() string) bool {
	if !passed || r.explain {
		r.verdict.Steps = append(r.verdict.Steps, Step{r.trigger, name, passed, text()})
	}
	return passed
}

// concerns reports whether the trigger is about resources of a type.
func (g *trigger) concerns(typ string) bool {
	switch g.Resource {
	case typ, "Resource":
		return true
	case "DomainResource":
		return typ != "Bundle" && typ != "Binary" && typ != "Parameters"
	}
	return false
}

// match reports whether a change fires the trigger. It stops at the first step that
// does not pass.
func (g *trigger) match(c *store.Change, e *Evaluation, preferQuery bool, rec recorder) bool {
	typ := c.State().Type
	if !rec.step("type", g.concerns(typ), func() string { return about(g.Resource, typ) }) {
		return false
	}
	allowed := g.allows(c)
	if !rec.step("interaction", allowed, func() string { return g.interaction(c, allowed) }) {
		return false
	}
	// Both kinds of criteria say the same. FHIRPath is more precise, so it decides
	// unless preferQuery is set (TOP-8).
	switch {
	case g.decidesByPath(c, preferQuery):
		result := e.of(g)
		if result.late != nil {
			rec.verdict.Late = result.late
		}
		return rec.step("criteria", result.passed, func() string { return result.text })
	case g.hasQueries(c):
		passed, text := g.matchQuery(c)
		return rec.step("criteria", passed, func() string { return text })
	}
	return rec.step("criteria", true, func() string { return "no criteria, so every " + string(c.Interaction) + " fires" }) // TOP-4
}

// allows reports whether the trigger lists the interaction of a change, or lists none
// (TOP-3).
func (g *trigger) allows(c *store.Change) bool {
	return len(g.Interactions) == 0 || slices.Contains(g.Interactions, string(c.Interaction))
}

// hasQueries reports whether there are queryCriteria that decide about a change.
func (g *trigger) hasQueries(c *store.Change) bool {
	return g.previous != nil || g.current != nil || g.hasResults(c)
}

// decidesByPath reports whether the fhirPathCriteria decide about a change.
func (g *trigger) decidesByPath(c *store.Change, preferQuery bool) bool {
	return g.path != nil && !(preferQuery && g.hasQueries(c))
}

// interaction says how an interaction compares with those that the trigger lists.
func (g *trigger) interaction(c *store.Change, allowed bool) string {
	named := strings.Join(g.Interactions, ", ")
	switch {
	case len(g.Interactions) == 0:
		return "it names no interactions, so every " + string(c.Interaction) + " counts"
	case allowed:
		return "this " + string(c.Interaction) + " is among the supported interactions " + named
	}
	return string(c.Interaction) + " is not among the supported interactions " + named
}

// about says how the type of a trigger compares with the type of a resource.
func about(trigger, typ string) string {
	if trigger == typ {
		return "it is about " + trigger
	}
	return "it is about " + trigger + ", the resource is a " + typ
}

// hasResults reports whether resultForCreate or resultForDelete decides this
// interaction.
func (g *trigger) hasResults(c *store.Change) bool {
	if g.Query == nil {
		return false
	}
	return c.Interaction == store.Create && g.Query.ResultForCreate != "" || c.Interaction == store.Delete && g.Query.ResultForDelete != ""
}

// test is the result of one side of the queryCriteria.
type test struct {
	present, passed bool
	why             string
}

// matchQuery evaluates the queryCriteria by the table in spec.md 1.3.5. A missing
// test is left out (TOP-15, TOP-16).
func (g *trigger) matchQuery(c *store.Change) (bool, string) {
	var previous, current test
	if c.Interaction == store.Create {
		previous = fixed("resultForCreate", g.Query.ResultForCreate)
	} else {
		previous = evaluated("previous", g.previous, c.Previous)
	}
	if c.Interaction == store.Delete {
		current = fixed("resultForDelete", g.Query.ResultForDelete)
	} else {
		current = evaluated("current", g.current, c.Current)
	}
	switch {
	case !previous.present && !current.present:
		return true, "no criteria apply to a " + string(c.Interaction)
	case !previous.present:
		return current.passed, current.why
	case !current.present:
		return previous.passed, previous.why
	case g.Query.RequireBoth:
		return previous.passed && current.passed, previous.why + " and " + current.why + ", both are required"
	}
	return previous.passed || current.passed, previous.why + " or " + current.why + ", one is enough"
}

func fixed(member, result string) test {
	if result == "" {
		return test{}
	}
	return test{true, result == "test-passes", member + " says " + result}
}

func evaluated(member string, query *search.Query, state *fhir.Resource) test {
	if query == nil {
		return test{}
	}
	passed, reasons := query.Explain(state)
	outcome := " fails"
	if passed {
		outcome = " passes"
	}
	return test{true, passed, member + outcome + " (" + strings.Join(reasons, "; ") + ")"}
}
