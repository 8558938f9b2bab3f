"""Stage one of Wholeword: raw text to sharded Arrow files with word boundaries."""
