// Package topic compiles SubscriptionTopics and decides whether a change
// concerns one, which filters a subscription may put on it, and which resources
// go along with its notifications.
//
// It decides and explains; it neither stores nor sends. A criterion that cannot
// be evaluated never fails the write that is being judged: it does not fire, and
// the verdict says why (TOP-10).
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

	preferQuery bool // where a trigger has both kinds of criteria
	anyFilter   bool // also what canFilterBy does not offer
}

// trigger is one compiled resourceTrigger.
type trigger struct {
	fhir.Trigger
	previous, current *search.Query // nil: no such test
	path              *fhirpath.Expr
	lenient           *fhirpath.Expr // path with | read as or; nil where it has none (TOP-11)
}

// Option changes how a topic is compiled.
type Option func(*Topic)

// PreferQuery lets queryCriteria decide where a trigger has fhirPathCriteria too,
// instead of the other way round (TOP-8).
func PreferQuery() Option { return func(t *Topic) { t.preferQuery = true } }

// AnyFilter lets subscriptions filter by every search parameter of a type, with
// every comparator and modifier, whether the topic offers it or not (FLT-4).
func AnyFilter() Option { return func(t *Topic) { t.anyFilter = true } }

// Compile compiles a topic, to be evaluated in a scope. Each problem is an issue
// with its place; a topic with one of severity error must not be used.
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
				issues = append(issues, broken("value", source.Expression+".fhirPathCriteria", err.Error()))
			} else if path.UnitesConditions() {
				options.UnionAsOr = true
				one.lenient, _ = fhirpath.Compile(source.FHIRPath, options) // no second reading where it makes no sense
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
					issues = append(issues, broken(refused.Code(), source.Expression+".queryCriteria."+member, refused.Error()))
				} else if query.Empty() {
					return nil // "Encounter?" asks nothing, which is not to pass always (TOP-16)
				}
				return query
			}
			one.previous = parse(q.Previous, "previous")
			one.current = parse(q.Current, "current")
		}
		compiled.triggers = append(compiled.triggers, one)
	}
	return compiled, append(issues, compiled.leftOut()...)
}

func broken(code, expression, text string) fhir.Issue {
	return fhir.Issue{Severity: "error", Code: code, Diagnostics: text, Expression: []string{expression}, Rule: true}
}

// Key names the topic among those of its catalogue.
func (t *Topic) Key() string { return t.key }

// URL is the canonical URL of the topic, without its version.
func (t *Topic) URL() string { return t.topic.URL }

// Version is the business version of the topic, "" where it has none.
func (t *Topic) Version() string { return t.topic.Version }

// Title is what people call the topic, "" where it does not say.
func (t *Topic) Title() string { return t.topic.Title }

// Status is the publication status of the topic.
func (t *Topic) Status() string { return t.topic.Status }

// Triggers is the number of resourceTriggers.
func (t *Topic) Triggers() int { return len(t.triggers) }

// Resources lists the types the topic is about, those of resource triggers
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

// Verdict is the answer to whether a change fires a topic.
type Verdict struct {
	Fired   bool
	Trigger int // index of the trigger that fired
	Steps   []Step
}

// Step is one thing a trigger asks of a change.
type Step struct {
	Trigger int    // its index, -1 for the topic as a whole
	Name    string // type, interaction or criteria
	Passed  bool
	Text    string // how it compared, in words
}

// String is the verdict in words.
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

// Match decides whether a change fires the topic: whether any of its triggers
// does (TOP-5). Of the steps it answers those that kept it from firing.
func (t *Topic) Match(c *store.Change) Verdict { return t.decide(c, false) }

// Explain is [Topic.Match] with every step.
func (t *Topic) Explain(c *store.Change) Verdict { return t.decide(c, true) }

func (t *Topic) decide(c *store.Change, explain bool) Verdict {
	v := Verdict{}
	for i := range t.triggers {
		ask := asking{trigger: i, explain: explain, steps: &v.Steps}
		if t.triggers[i].match(c, t.preferQuery, ask) {
			v.Fired, v.Trigger = true, i
			return v
		}
	}
	if len(t.triggers) == 0 {
		v.Steps = []Step{{Trigger: -1, Name: "type", Text: "the topic has no trigger on resources; only /mock/trigger fires it"}}
	}
	return v
}

// asking gathers the steps of one trigger.
type asking struct {
	trigger int
	explain bool // also what passed
	steps   *[]Step
}

// answer notes a step and answers whether it passed; text words it.
func (a asking) answer(name string, passed bool, text func() string) bool {
	if !passed || a.explain {
		*a.steps = append(*a.steps, Step{a.trigger, name, passed, text()})
	}
	return passed
}

// concerns tells whether a trigger is about resources of a type.
func (g *trigger) concerns(typ string) bool {
	switch g.Resource {
	case typ, "Resource":
		return true
	case "DomainResource":
		return typ != "Bundle" && typ != "Binary" && typ != "Parameters"
	}
	return false
}

// match asks a trigger about a change, up to the first answer that is no.
func (g *trigger) match(c *store.Change, preferQuery bool, ask asking) bool {
	typ := c.State().Type
	if !ask.answer("type", g.concerns(typ), func() string { return about(g.Resource, typ) }) {
		return false
	}
	allowed := len(g.Interactions) == 0 || slices.Contains(g.Interactions, string(c.Interaction)) // TOP-3
	if !ask.answer("interaction", allowed, func() string { return g.interaction(c, allowed) }) {
		return false
	}
	// Both are ways to say the same; where there are both, FHIRPath, the more
	// precise one, decides unless told otherwise (TOP-8).
	queries := g.previous != nil || g.current != nil || g.hasResults(c)
	switch {
	case g.path != nil && !(preferQuery && queries):
		passed, text := g.matchPath(c)
		return ask.answer("criteria", passed, func() string { return text })
	case queries:
		passed, text := g.matchQuery(c)
		return ask.answer("criteria", passed, func() string { return text })
	}
	return ask.answer("criteria", true, func() string { return "no criteria, so every " + string(c.Interaction) + " fires" }) // TOP-4
}

// interaction says how an interaction compares with those a trigger supports.
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

// about says how the type of a trigger compares with that of a resource.
func about(trigger, typ string) string {
	if trigger == typ {
		return "it is about " + trigger
	}
	return "it is about " + trigger + ", the resource is a " + typ
}

// matchPath evaluates the fhirPathCriteria on a change.
func (g *trigger) matchPath(c *store.Change) (bool, string) {
	vars := map[string][]byte{"previous": nil, "current": nil} // TOP-9
	if c.Previous != nil {
		vars["previous"] = c.Previous.JSON
	}
	if c.Current != nil {
		vars["current"] = c.Current.JSON
	}
	result, err := g.path.Eval(c.State().Release, c.State().JSON, vars)
	if err == nil && fhirpath.True(result) {
		return true, "fhirPathCriteria is true: " + g.path.String()
	}
	if g.lenient != nil && (err != nil || len(result) != 1) {
		// HL7's own example unites conditions where it means to offer a choice.
		if result, err := g.lenient.Eval(c.State().Release, c.State().JSON, vars); err == nil && fhirpath.True(result) {
			return true, "fhirPathCriteria is true once its | is read as or; | unites collections, so better write or (TOP-11)"
		}
	}
	if err != nil {
		return false, err.Error()
	}
	return false, fmt.Sprintf("fhirPathCriteria gives %s, not a single true: %s", gives(fhirpath.Values(result)), g.path)
}

// gives is a result in words.
func gives(result []any) string {
	shown := make([]string, len(result))
	for i, v := range result {
		if o, isObject := v.(*fhir.Object); isObject {
			v = string(o.AppendJSON(nil))
		}
		shown[i] = fmt.Sprint(v)
	}
	switch len(result) {
	case 0:
		return "nothing"
	case 1:
		return fmt.Sprintf("%.100s", shown[0])
	}
	return fmt.Sprintf("%d values, %.100s", len(result), shown)
}

// hasResults tells whether a trigger without search strings still says what to
// do on this interaction.
func (g *trigger) hasResults(c *store.Change) bool {
	if g.Query == nil {
		return false
	}
	return c.Interaction == store.Create && g.Query.ResultForCreate != "" || c.Interaction == store.Delete && g.Query.ResultForDelete != ""
}

// test is one side of the queryCriteria: whether it is asked at all, and how it
// came out.
type test struct {
	asked, passed bool
	why           string
}

// matchQuery evaluates the queryCriteria by the table of spec.md 1.3.5. A test
// nobody wrote down is left out (TOP-15, TOP-16).
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
	case !previous.asked && !current.asked:
		return true, "no criteria apply to a " + string(c.Interaction)
	case !previous.asked:
		return current.passed, current.why
	case !current.asked:
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
