from company_crypto import seal


def badge(name, place):
    """What a visitor of a place wears: the name, sealed for that place."""
    return f"{name}-{seal(name, place)}"
