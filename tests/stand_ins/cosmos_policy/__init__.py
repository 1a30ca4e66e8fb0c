"""Stands in for NVlabs/cosmos-policy in the tests: the same names and signatures, no model.

Whatever is asked is kept in the folder `$STAND_IN_LOG`, if it is set; `$STAND_IN_FAULT` names what goes
wrong.
"""
