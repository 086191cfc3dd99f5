package synth

import (
	"encoding/json"
	"strconv"

	"signalfhir/internal/random"
)

// The building blocks of stories. Names are common ones from many places, combined
// at random; the codes are real.

func femaleNames() []string {
	return []string{"Amara", "Beatriz", "Chiara", "Daniela", "Elif", "Freya", "Grace", "Hana", "Ingrid", "Jasmine", "Katarzyna", "Leila", "Mei", "Noor", "Olivia", "Priya", "Rosa", "Siobhan", "Tala", "Yuki"}
}

func maleNames() []string {
	return []string{"Ahmed", "Bram", "Carlos", "Diego", "Emeka", "Finn", "Giorgos", "Hiroshi", "Ivan", "Jonas", "Kofi", "Lars", "Mateo", "Nikhil", "Omar", "Pavel", "Rafael", "Samir", "Tomás", "Wei"}
}

func familyNames() []string {
	return []string{"Abdi", "Andersen", "Bianchi", "Castillo", "Chen", "Dubois", "Eriksen", "Fernandes", "Hartmann", "Ibrahim", "Ito", "Jansen", "Kaya", "Kowalski", "Lindqvist", "Mbeki", "Morgan", "Nakamura", "Novák", "O'Connor", "Okafor", "Petrov", "Ramirez", "Sharma", "Thompson", "Tran", "Virtanen", "Weiss", "Yilmaz", "Zhang"}
}

type city struct{ name, postalCode string }

func cities() []city {
	return []city{{"Eastvale", "10420"}, {"Harbor Glen", "10733"}, {"Millbrook Heights", "11018"}, {"Northfield Bay", "11250"}, {"Willow Crossing", "11904"}}
}

func streets() []string {
	return []string{"Alder Lane", "Beacon Street", "Canal Road", "Garden Row", "Harbour View", "Linden Avenue", "Mill Lane", "Station Road"}
}

func wards() []string {
	return []string{"Ward 2 North", "Ward 3 East", "Ward 4 South", "Ward 5 West", "Short Stay Unit", "Medical Assessment Unit"}
}

// visitKind is a class of encounter and its details.
type visitKind struct {
	class, priority code
	sources         []code
	unannounced     bool // not planned in advance
}

func visitKinds() []visitKind {
	const act, priority, source = "http://terminology.hl7.org/CodeSystem/v3-ActCode", "http://terminology.hl7.org/CodeSystem/v3-ActPriority", "http://terminology.hl7.org/CodeSystem/admit-source"
	var (
		practice   = code{source, "gp", "General Practitioner referral"}
		outpatient = code{source, "outp", "From outpatient department"}
		emergency  = code{source, "emd", "From accident/emergency department"}
		transfer   = code{source, "hosp-trans", "Transferred from other hospital"}
		nursing    = code{source, "nursing", "From nursing home"}
		inpatient  = code{act, "IMP", "inpatient encounter"}
	)
	return []visitKind{
		{inpatient, code{priority, "EL", "elective"}, []code{practice, outpatient}, false},
		{inpatient, code{priority, "UR", "urgent"}, []code{emergency, transfer, nursing}, false},
		{code{act, "EMER", "emergency"}, code{priority, "EM", "emergency"}, []code{emergency, practice, nursing}, true},
		{code{act, "SS", "short stay"}, code{priority, "EL", "elective"}, []code{practice, outpatient}, false},
		{code{act, "OBSENC", "observation encounter"}, code{priority, "UR", "urgent"}, []code{emergency, practice}, false},
	}
}

func dispositions() []code {
	const system = "http://terminology.hl7.org/CodeSystem/discharge-disposition"
	home := code{system, "home", "Home"}
	return []code{home, home, home, {system, "rehab", "Rehabilitation"}, {system, "snf", "Skilled nursing facility"}, {system, "other-hcf", "Other healthcare facility"}}
}

func reasons() []code {
	const snomed = "http://snomed.info/sct"
	return []code{
		{snomed, "233604007", "Pneumonia"},
		{snomed, "29857009", "Chest pain"},
		{snomed, "74400008", "Appendicitis"},
		{snomed, "21522001", "Abdominal pain"},
		{snomed, "267036007", "Dyspnea"},
		{snomed, "386661006", "Fever"},
		{snomed, "25064002", "Headache"},
		{snomed, "68566005", "Urinary tract infectious disease"},
		{snomed, "42343007", "Congestive heart failure"},
		{snomed, "13645005", "Chronic obstructive pulmonary disease"},
		{snomed, "22298006", "Myocardial infarction"},
	}
}

func work() []string {
	return []string{
		"Take vital signs", "Collect a blood sample", "Change the wound dressing", "Review the medication list",
		"Bring the patient to radiology", "Prepare the discharge letter", "Assess the risk of falling", "Instruct the patient on inhaler use",
	}
}

func statusReasons() map[string]string {
	return map[string]string{
		"rejected": "Already done on the previous shift",
		"failed":   "The patient declined",
		"on-hold":  "The patient is away for imaging",
	}
}

const loinc = "http://loinc.org"

// labTest is a laboratory test. low and high bound the normal range, with the
// precision of results; least and most bound all measured values.
type labTest struct {
	loinc, display, short, unit string
	low, high                   string
	least, most                 float64
	decimals                    int
}

func labTests() []labTest {
	return []labTest{
		{"718-7", "Hemoglobin [Mass/volume] in Blood", "Hemoglobin", "g/dL", "12.0", "16.0", 6, 19, 1},
		{"6690-2", "Leukocytes [#/volume] in Blood by Automated count", "Leukocytes", "10*3/uL", "4.5", "11.0", 1.5, 28, 1},
		{"777-3", "Platelets [#/volume] in Blood by Automated count", "Platelets", "10*3/uL", "150", "400", 30, 750, 0},
		{"2951-2", "Sodium [Moles/volume] in Serum or Plasma", "Sodium", "mmol/L", "136", "145", 118, 158, 0},
		{"2823-3", "Potassium [Moles/volume] in Serum or Plasma", "Potassium", "mmol/L", "3.5", "5.1", 2.4, 6.9, 1},
		{"2160-0", "Creatinine [Mass/volume] in Serum or Plasma", "Creatinine", "mg/dL", "0.60", "1.30", 0.4, 6.5, 2},
		{"2345-7", "Glucose [Mass/volume] in Serum or Plasma", "Glucose", "mg/dL", "70", "99", 42, 380, 0},
		{"1988-5", "C reactive protein [Mass/volume] in Serum or Plasma", "CRP", "mg/L", "0.0", "5.0", 0, 210, 1},
		{"1742-6", "Alanine aminotransferase [Enzymatic activity/volume] in Serum or Plasma", "ALT", "U/L", "7", "56", 5, 420, 0},
		{"2524-7", "Lactate [Moles/volume] in Serum or Plasma", "Lactate", "mmol/L", "0.5", "2.2", 0.4, 7.5, 1},
		{"3016-3", "Thyrotropin [Units/volume] in Serum or Plasma", "TSH", "m[IU]/L", "0.40", "4.00", 0.02, 14, 2},
	}
}

// draw returns a value: three in four times a normal one, else one below or above.
func (t labTest) draw(r *random.Source) string {
	low, high := t.bounds()
	switch r.IntN(8) {
	case 0:
		low, high = t.least, low
	case 1:
		low, high = high, t.most
	}
	return strconv.FormatFloat(low+r.Float64()*(high-low), 'f', t.decimals, 64)
}

// interpret reports whether a value is normal, or how far from normal it is.
func (t labTest) interpret(value string) code {
	const system = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"
	low, high := t.bounds()
	v := number(value)
	switch {
	case v < low-(low-t.least)*2/3:
		return code{system, "LL", "Critical low"}
	case v > high+(t.most-high)*2/3:
		return code{system, "HH", "Critical high"}
	case v < low:
		return code{system, "L", "Low"}
	case v > high:
		return code{system, "H", "High"}
	}
	return code{system, "N", "Normal"}
}

func (t labTest) bounds() (low, high float64) { return number(t.low), number(t.high) }

// number parses a number that this package wrote itself.
func number(text string) float64 {
	v, _ := strconv.ParseFloat(text, 64)
	return v
}

func jsonInt(n int) json.Number { return json.Number(strconv.Itoa(n)) }
