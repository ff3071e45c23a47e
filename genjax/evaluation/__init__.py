"""How good a trained model is: measures of images, likelihoods, codes and scores; models come in as functions."""
