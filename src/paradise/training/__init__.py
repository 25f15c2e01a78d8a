SAVE_MINUTES = 10.0  # between saved states
