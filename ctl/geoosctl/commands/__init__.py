"""The verbs, one module a group; :mod:`geoosctl.cli` imports a module when its verb is used."""
