"""How control asks the other daemons, and notices when one of them goes."""
