package room

import (
	"signalfhir/internal/manners"
)

// Manners returns the manners of real servers that are on; nil if there are none.
func (r *Room) Manners() *manners.Manners { return r.manners.Get() }

// MannersName returns the name that was chosen, "none" if it was none.
func (r *Room) MannersName() string { return *r.mannersName.Load() }

// SetManners replaces the manners. What was sent is as it was. A refusal changes nothing.
func (r *Room) SetManners(c manners.Choice) error {
	r.write.Lock() // so that the journal has the order of the changes
	defer r.write.Unlock()
	if err := r.useManners(c); err != nil {
		return err
	}
	on := manners.Manners{}
	if m := r.manners.Get(); m != nil {
		on = *m
	}
	r.controlled("manners", "", "%s: %s", c.Title(), on)
	return nil
}

func (r *Room) useManners(c manners.Choice) error {
	m, err := c.Resolve()
	if err != nil {
		return err
	}
	name := c.Title()
	r.mannersName.Store(&name)
	r.manners.Set(m)
	return nil
}

// withoutHandshake says in the entry of a binding that its socket is not told.
func (r *Room) withoutHandshake() string {
	if m := r.manners.Get(); m != nil && m.NoHandshake {
		return "without a handshake, by manners"
	}
	return ""
}
