"""How near a fit comes to a known answer, case by case, with nothing set but the resolution."""
