package cli

// Relative is a moment as people say it.
var Relative = relative

// Shown is a name as lists show it.
var Shown = shown

// Address is the best of a server's addresses.
var Address = address

// TimeFlags set a flag that is a time and give it as it is shown.
var TimeFlags = map[string]func(text string) (shown string, err error){
	"duration": func(text string) (string, error) {
		var d durationValue
		err := d.Set(text)
		return d.String(), err
	},
	"moment": func(text string) (string, error) {
		var m momentValue
		err := m.Set(text)
		return m.String(), err
	},
	"moment ahead": func(text string) (string, error) {
		m := momentValue{direction: 1}
		err := m.Set(text)
		return m.String(), err
	},
}
