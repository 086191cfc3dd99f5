package explain

import (
	"fmt"
	"strings"
)

// String returns the explanation as a text for a terminal.
func (e *Explanation) String() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s %s", e.Interaction, e.Resource)
	if e.Version != "" {
		fmt.Fprintf(&text, ", version %s", e.Version)
	}
	fmt.Fprintf(&text, ", %s\n", e.Release)
	for _, t := range e.Topics {
		fires := "does not fire"
		if t.Fires {
			fires = "fires"
		}
		fmt.Fprintf(&text, "  topic %s %s\n", t.Topic, fires)
		writeSteps(&text, "    ", t.Steps)
		for _, v := range t.Subscriptions {
			v.write(&text, "    ")
		}
		if t.More > 0 {
			fmt.Fprintf(&text, "    and %d more subscriptions; name one to ask about it\n", t.More)
		}
	}
	for _, v := range e.Criteria {
		v.write(&text, "  ")
	}
	if len(e.Topics) == 0 && len(e.Criteria) == 0 {
		text.WriteString("  no topic is about this type\n")
	}
	return text.String()
}

func (v *Verdict) write(text *strings.Builder, indent string) {
	outcome := "gets no event"
	if v.Numbered {
		outcome = "gets an event"
	}
	fmt.Fprintf(text, "%ssubscription %s %s\n", indent, v.Subscription, outcome)
	writeSteps(text, indent+"  ", v.Steps)
}

func writeSteps(text *strings.Builder, indent string, steps []Step) {
	for _, s := range steps {
		answer := "no "
		if s.OK {
			answer = "yes"
		}
		fmt.Fprintf(text, "%s%s %-12s %s\n", indent, answer, s.Step, s.Text)
	}
}
