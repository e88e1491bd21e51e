"""The two tests of Vuillemot and Jonic on the p97 ATPase: see README.md in this folder."""
